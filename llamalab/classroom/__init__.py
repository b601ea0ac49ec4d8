"""The instructor's commands: present, handout, share."""
