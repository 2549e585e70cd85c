"""The command line.

    main            finds the module of the called command, and turns an error into a line and an exit status
    commands/       one module for each group of commands: options in, lines and tables out
    launch/         starts the process of a mount, checks what it needs, and takes a mount down
    choose_mount    finds the mount that a command without a path is for
    listing         asks mounts for the files below paths; `arrival` waits until the service has them
    looking         looks at PDFs and pictures, in a child (`look_child`); `local_bytes` finds and sums bytes
    console         prints: results on stdout, all else on stderr, without control characters
    exit_status     0 success, 1 failure, 2 wrong use, 3 changes left, 130 interrupted

The commands have no logic of their own: most send one message to the running mount (`remotefs/control`) and print the
reply. Only `mount`, and commands on a state folder without a mount, load the mount itself. A module is loaded when its
command is called, because loading all of a mount takes longer than most commands take.
"""
