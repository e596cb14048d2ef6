"""What differs on hosts from the declaration, and from how they were when somebody last said that they are right."""
