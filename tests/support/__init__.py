"""What tests stand on: servers, a toolbox whose effects can be counted, people, and the invariants' checker."""
