"""What attempts leave behind: put aside when their result is spooled, sent to the coordinator afterwards."""
