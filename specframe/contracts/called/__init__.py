"""The layer through which components are called: it knows whom it calls, and checks what they return.

One class for each kind wraps what a factory made. What a component declares is read once, when it is wrapped.
"""
