"""Networks that are independent of the methods that use them. All of them are scriptable (TorchScript)."""
