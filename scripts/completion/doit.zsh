# Names of doit's tasks in zsh, after compinit: . scripts/completion/doit.zsh
_doit_tasks() {
    local -a names
    names=(${(f)"$(${words[1]} list --all --quiet 2>/dev/null)"})
    compadd -a names
}
compdef _doit_tasks doit
