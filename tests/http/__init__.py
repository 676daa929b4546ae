"""The contract with HTTP clients, on real loopback sockets."""
