"""May this happen, now: pure rules over frozen values, judged when proposed and again inside the claim."""
