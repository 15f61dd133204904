"""How fast is this machine, and how near to what it could be: measured side by side with other implementations."""
