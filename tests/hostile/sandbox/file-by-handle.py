# Opens a file by its number, past every folder.
# says: Operation not permitted
from attack import reached

reached("open_by_handle_at", -1, 0, 0)
