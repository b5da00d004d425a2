# Names of doit's tasks in zsh, after compinit: . scripts/completion/doit.zsh
_doit_tasks() {
    local -a names
    case $PREFIX in
    -*) names=(--json --dry-run) ;;
    *) names=(${(f)"$(${words[1]} list --all --quiet 2>/dev/null)"}) ;;
    esac
    compadd -a names
}
compdef _doit_tasks doit
