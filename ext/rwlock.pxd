"""Read-write locks of the C library: for tables that are read for every request and written once in a while."""

cdef extern from "pthread.h" nogil:
    ctypedef struct pthread_rwlock_t:
        pass
    int pthread_rwlock_init(pthread_rwlock_t* lock, void* attributes)
    int pthread_rwlock_rdlock(pthread_rwlock_t* lock)
    int pthread_rwlock_wrlock(pthread_rwlock_t* lock)
    int pthread_rwlock_unlock(pthread_rwlock_t* lock)
    int pthread_rwlock_destroy(pthread_rwlock_t* lock)
