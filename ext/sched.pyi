def set_slice(nanoseconds: int) -> int:
    """Ask for turns of that length (100 µs to 100 ms) for the calling thread, and for the threads that it starts from now on.

    Needs no privilege: a shorter turn comes sooner and is no larger share. Returns 0, or the errno with which the kernel refused; one
    before 6.12 takes the wish and keeps its own turns.
    """

def get_slice() -> int:
    """Nanoseconds of a turn of the calling thread; 0 when the kernel does not tell."""
