print("no project")
