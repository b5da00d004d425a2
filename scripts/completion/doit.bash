# Names of doit's tasks in bash: . scripts/completion/doit.bash
_doit_tasks() {
    local current=${COMP_LINE:0:COMP_POINT}
    current=${current##* } # bash takes a colon for the end of a word
    case $current in
    -*) COMPREPLY=($(compgen -W "--json --dry-run" -- "$current")) ;;
    *) COMPREPLY=($(compgen -W "$("$1" list --all --quiet 2>/dev/null)" -- "$current")) ;;
    esac
    case $current in *:*) COMPREPLY=("${COMPREPLY[@]#"${current%:*}:"}") ;; esac
}
complete -o default -F _doit_tasks doit
