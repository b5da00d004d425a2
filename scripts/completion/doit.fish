# Names of doit's tasks in fish: source scripts/completion/doit.fish
function __doit_tasks
    set -l typed (commandline -opc)
    $typed[1] list --all --quiet 2>/dev/null
end
complete -c doit -f -a "(__doit_tasks)"
complete -c doit -l json -d "for other programs"
complete -c doit -l dry-run -d "only tell"
