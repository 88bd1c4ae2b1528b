# Has the kernel start /sbin/request-key as root of the host.
# says: Operation not permitted
from attack import reached

reached("request_key", b"user", b"pimu-no-such-key", 0, 0)
