"""Image files in and out, atomic writes, and the errors a user can mend."""
