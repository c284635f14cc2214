"""AgentDojo's banking and slack suites against the product, with an agent that does whatever the attacker says.

The data (tools, environments, tasks with their calls) is AgentDojo's (MIT) and is read from COPILOT_TEST_DATA; how the tools behave,
the policies, the operator and what counts as a successful attack were written here. `python -m tests.dojo.figures` prints it all.
"""
