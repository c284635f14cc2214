"""Copilot: agents propose, people decide, and the record proves what happened.

The rooms, from the outside in; a room may import only rooms below it:

    cli         the `copilot` command
    processes   supervisor, embedded server, worker entry, clock, doctor
    app         create_app(): the only module that knows every page
    web, api    pages for people; REST v1 for programs
    jobs        every background job, thin: the spine of the system on one page; doorbell: rings for them
    insights    counts and figures for people; live: the event stream to browsers
    agents      ticket in, draft out
    review      the human's side: inbox, proposals, decisions, feedback
    gateway     the one door to tools: reads, writes (claim, settle), adapters
    gate        may this happen, now: pure rules, and their one contact with the database
    autonomy    how much may run alone; people: passwords, sessions, tokens
    notify      outbox and channels
    audit       what happened: log, merkle tree, redaction
    models      every table
    db, config  the only commit; settings parsed once
    toolkit, client, proof, errors

`demo` is a sample company built on `toolkit` and `client` only. docs/architecture.md has the long form.
"""
