"""The instructor's commands: present, hand out, share."""
