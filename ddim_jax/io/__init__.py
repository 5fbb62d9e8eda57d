"""Image files in and out, atomic writes, the errors a user can mend, and the signals that stop a program."""
