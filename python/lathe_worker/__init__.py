"""What a worker of lathe-infer runs: it loads one model, then answers requests for it, one at a time.

Needs Python 3.9 and nothing else; what the model needs is in its environment. Standard input is the socket to
lathe-infer; everything printed goes to the deployment's log.
"""
