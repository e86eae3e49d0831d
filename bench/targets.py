# SPDX-License-Identifier: BSL-1.0
"""What paddock means to reach, and what there is to say where a peer is faster.

A target compares a figure of a row's subject, which is paddock unless it says otherwise, with a limit: in the figure's
own unit, or as a multiple of another subject's figure in the same row, or in the row that stands before a slash.
"""
from typing import NamedTuple, Optional

# The unit of a figure. "near and far" stands for two figures, which are compared each with its like.
UNITS = {
    "rmw": "RMW",
    "near and far": "ns",
    "ns": "ns",
    "p99_ns": "ns",
    "signaler_ns": "ns",
    "stalls_per_million": "stalls in a million",
    "bytes": "bytes",
    "cpu_s": "s",
    "instructions": "instructions",
}


class Target(NamedTuple):
    row: str
    limit: float
    against: Optional[str] = None
    figure: str = "rmw"
    subject: str = "paddock"


class Group(NamedTuple):
    title: str
    rows: list  # Those of the report's tables, in this order.
    figure: str  # What the tables and plots show of them.
    words: str
    one: Optional[str] = "paddock"  # Whose figures are 1 in the last column. None: there is no such column.


GROUPS = [
    Group(
        "Life of a fence",
        ["create in place", "create on the heap", "get and put"],
        "rmw",
        "Made and dropped at once; one reference taken and given back.",
    ),
    Group(
        "Asking and signaling",
        ["is_signaled", "wait on signaled", "signal"],
        "rmw",
        "Nobody waits: the case of most fences.",
    ),
    Group(
        "Callbacks",
        ["add 1 and signal", "add 8 and signal, each", "add 64 and signal, each"],
        "rmw",
        "Each callback's share of adding them all and signaling once.",
    ),
    Group(
        "Callbacks that are taken back",
        [
            "add and remove, alone",
            "add and remove, 64 others",
            "add 64, remove oldest first",
            "add 64, remove newest first",
            "add 64, remove at random",
        ],
        "rmw",
        "One callback added and removed, in nanoseconds a pair, by what else is queued and by the order.",
    ),
    Group(
        "Several fences",
        ["wait for all of 64, done", "wait for any of 64, last ready", "array of 64, each member"],
        "rmw",
        "The array is made, waited for by a callback, completed by its members, and dropped; by hand, callbacks count down.",
    ),
    Group(
        "Timelines",
        [
            "timeline: signal a point",
            "timeline: query",
            "timeline: wait for a passed point",
            "timeline: find among 10",
            "timeline: find among 1000",
            "timeline: find among 10000",
        ],
        "rmw",
        "The searches are for the fence of the newest and of the oldest point, with so many pending. A search walks back from "
        "the newest, as the kernel's does, and so takes time in proportion to how far back its point is: an index would be "
        "paid for by each submission, and who looks for a point is seldom far behind.",
    ),
    Group(
        "Two threads",
        ["add and remove, 2 threads", "get and put, 2 threads", "signal to wake, spinning", "signal to wake, wait()"],
        "near and far",
        "Both threads with one fence, for the first two; from a signal to the other thread's next step, for the others.",
    ),
    Group(
        "Asleep",
        ["signal to wake, asleep"],
        "ns",
        "From a signal until a thread that has slept for 200 microseconds runs.",
    ),
    Group(
        "Reservations: readers",
        [
            "resv: test_signaled, 4 fences",
            "resv: test_signaled, 2 readers",
            "resv: test_signaled, a writer",
            "resv: snapshot of 4",
        ],
        "rmw",
        "Four fences, all signaled for test_signaled, all pending for a snapshot. With a guard held for a whole batch, and "
        "with one a call. The writer puts another fence in one's place each microsecond. A snapshot takes a reference to "
        "each fence and drops it; \"guard\" walks without.",
    ),
    Group(
        "Reservations: changes",
        ["resv: reserve and add", "resv: lock, reserve and add", "resv: lock 2 of 64", "resv: lock 4 of 64", "resv: lock 16 of 64"],
        "rmw",
        "The next job of a queue takes the place of the last one, under one lock for all, or with lock and unlock for each. Sets of locks are drawn at "
        "random, taken in that order, and left at once.",
    ),
    Group(
        "Reservations: two threads",
        ["resv: lock 4 of 64, 2 threads", "resv: lock 4 of 64, 2 threads, 1 us inside"],
        "near and far",
        "Both threads lock sets drawn at random, which meet in nearly every fourth.",
    ),
    Group(
        "Buffers: uses",
        [
            "buffer: attach, map, unmap, detach",
            "buffer: map and unmap",
            "buffer: map and unmap, 4 done fences",
            "buffer: map and unmap, lock held",
            "buffer: read by CPU",
        ],
        "rmw",
        "Memory in one piece, and a device that maps by doing nothing. The attachments are pinned, and movable where the "
        "lock is held. With auto_fence, the default, a map looks whether the buffer's jobs are done, which they are here. "
        "By hand, a node of the list is allocated for each attach, and mappings are only counted. The targets in RMW are "
        "met in locked instructions, and missed in time: `tests/count/buffer.cpp` counts four for all four steps (one for "
        "each lock, two for the reference), two for a map and an unmap under the lock, and no allocation after the first "
        "map. What goes beyond them is plain instructions, and that a locked one inside of a lock is not overlapped.",
    ),
    Group(
        "Buffers: moves",
        [
            "buffer: move, 1 importer",
            "buffer: move, 16 importers, each",
            "buffer: move, 256 importers, each",
            "buffer: move, an importer more",
        ],
        "rmw",
        "Each importer is armed, and told; when it has a mapping, that turns stale. The lock is held, the mover copies "
        "nothing, and the memory is there. An importer's share of the whole move, and last, from 16 to 256, by how much "
        "the move is longer for each.",
    ),
    Group(
        "Routes",
        ["route: load 517 functions", "route: between two", "route: all of 100 endpoints", "route: nearest of 64 for 16",
         "pool: allocate and free"],
        "ns",
        "A server's dump, as root's lspci -xxxx prints it, from the file to a tree; lspci lists the file, and its process is "
        "started for that. Then verdicts between endpoints of that tree: drawn at random, and each with each. \"Kernel steps\" "
        "search as the kernel does, and do not ask the lists of host bridges and quirks.",
    ),
    Group(
        "A disk's copy",
        ["nvme_copy: 8 MiB"],
        "ns",
        "examples/nvme_copy between two emulated drives in the guest ({kernel}): through the memory of one of them, and "
        "through system memory. An emulated controller's memory is read and written access by access, where real "
        "hardware's is not: the ratio speaks of QEMU.",
    ),
    Group(
        "Kernel objects",
        [
            "kernel: made and dropped",
            "kernel: signal",
            "kernel: wait on signaled",
            "kernel: merge two, complete",
            "kernel: signal a point",
            "kernel: query a timeline",
            "kernel: wait for a passed point",
        ],
        "rmw",
        "The fences that the kernel gives a process, and paddock's in the same process, in the guest of the VM lane "
        "({kernel}). With the time of the clock, as the kernel takes it.",
    ),
    Group(
        "Wrappers and their ioctls",
        [
        "ioctl: DMA_BUF_IOCTL_SYNC, start",
        "ioctl: DMA_BUF_IOCTL_SYNC, end",
        "ioctl: DMA_BUF_IOCTL_SYNC, a probe",
        "ioctl: DMA_BUF_SET_NAME_B",
        "ioctl: DMA_BUF_IOCTL_EXPORT_SYNC_FILE",
        "ioctl: DMA_BUF_IOCTL_IMPORT_SYNC_FILE",
        "ioctl: SYNC_IOC_MERGE",
        "ioctl: SYNC_IOC_FILE_INFO",
        "ioctl: SYNC_IOC_SET_DEADLINE",
        "ioctl: DMA_HEAP_IOCTL_ALLOC, 4 KiB",
        "ioctl: DMA_HEAP_IOCTL_ALLOC, 1 MiB",
        "ioctl: UDMABUF_CREATE, 4 KiB",
        "ioctl: UDMABUF_CREATE, 1 MiB",
        "ioctl: DRM_IOCTL_SYNCOBJ_CREATE",
        "ioctl: DRM_IOCTL_SYNCOBJ_DESTROY",
        "ioctl: DRM_IOCTL_SYNCOBJ_SIGNAL",
        "ioctl: DRM_IOCTL_SYNCOBJ_RESET",
        "ioctl: DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL",
        "ioctl: DRM_IOCTL_SYNCOBJ_QUERY",
        "ioctl: DRM_IOCTL_SYNCOBJ_WAIT",
        "ioctl: DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT",
        "ioctl: DRM_IOCTL_SYNCOBJ_TRANSFER",
        "ioctl: DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD",
        "ioctl: DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE",
        "ioctl: DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, a sync_file",
        "ioctl: DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, a point's sync_file",
        "ioctl: DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, a sync_file",
        "ioctl: DRM_IOCTL_SYNCOBJ_EVENTFD",
        "ioctl: DRM_IOCTL_PRIME_FD_TO_HANDLE",
        "ioctl: DRM_IOCTL_PRIME_HANDLE_TO_FD",
        "ioctl: DRM_IOCTL_GEM_CLOSE",
        "ioctl: DRM_IOCTL_MODE_CREATE_DUMB",
        "ioctl: DRM_IOCTL_MODE_MAP_DUMB and mmap",
        "ioctl: VFIO_IOMMU_MAP_DMA, 4 KiB",
        "ioctl: VFIO_IOMMU_UNMAP_DMA, 4 KiB",
        "ioctl: VFIO_IOMMU_MAP_DMA, 4 KiB, by an ioas",
        "ioctl: VFIO_IOMMU_MAP_DMA, 2 MiB, by an ioas",
        "ioctl: pread of config space",
        "ioctl: VFIO_DEVICE_GET_IRQ_INFO",
        "ioctl: VFIO_DEVICE_FEATURE, a dma-buf",
        "ioctl: VFIO_DEVICE_SET_IRQS",
        "ioctl: IOMMU_IOAS_MAP, 4 KiB",
        "ioctl: IOMMU_IOAS_MAP_FILE, 4 KiB",
        "ioctl: IOMMU_IOAS_UNMAP, 4 KiB",
        ],
        "instructions",
        "Instructions of one call, those of the program and those of the kernel that works for it: what they cost is "
        "nearly all the kernel's, so no count of the program's own would say how much a wrapper adds. The guest "
        "({ioctls}) runs on an emulator whose time stamp counter advances by one with each instruction; both calls are "
        "in one program, take turns on the same objects, and the raw one fills in the structure and calls ioctl(2), "
        "without libdrm. \"More\" is what the wrapper adds, nearly all of it in the program. What is made is closed "
        "outside of what is counted. `tests/vm/cases/wrappers.cpp` counts the system calls and the program's "
        "instructions, one by one.",
        "raw ioctl",
    ),
    Group(
        "A bridge with 10,000 pending",
        ["bridge: wake of 10,000 sync_files", "bridge: wake of 10,000 eventfds"],
        "ns",
        "One of 10,000 at random is signaled, and the thread that watches them is asleep: until the callback runs, in a "
        "bridge's own thread, in an event loop that has the bridge's descriptor, and in a loop over epoll_wait that has "
        "all of them and calls a function. That one asks nobody how the fence ended, nor when. The kernel fences are "
        "sw_sync's, in the guest ({bridge}); this machine has eventfds.",
        "bare epoll loop",
    ),
    Group(
        "More threads than cores",
        ["adds from 2 threads", "adds from 4 threads", "adds from 8 threads", "signal among 8 removers"],
        "ns",
        "On two cores: what one add takes the machine, and what a signal takes while eight threads add and remove.",
    ),
    Group(
        "Sizes",
        [
            "size: dma_buf",
            "size: attachment",
            "size: attachment to vfio::device",
            "size: attachment to drm::importer",
            "size: attachment to cpu_device",
            "size: mapping",
            "size: mapping's record",
            "size: storage",
            "size: CPU access",
        ],
        "bytes",
        "What `sizeof` says. An attachment makes a record for its first mapping, and keeps it for the next ones.",
        None,
    ),
    Group(
        "Compile time",
        ["compile: g++", "compile: clang++"],
        "cpu_s",
        "Seconds of CPU for a translation unit that does nothing but include, at -O2: {compilers}.",
        "floor: <vector> and fmt/format.h",
    ),
]

_CALLBACKS = GROUPS[2].rows
_REMOVALS = GROUPS[3].rows
_POINTS = GROUPS[5].rows[:3]
_READ = "resv: test_signaled, 4 fences"
# What is more than a wrapper of one ioctl, so that the target for those is none for it, and what else it does.
_COUNTED = "It makes a handle that is counted, for which it allocates."
BEYOND = {
    "ioctl: DMA_BUF_IOCTL_SYNC, a probe": "The kernel refuses, and the errno is looked up by the call's name, as of every error.",
    "ioctl: DMA_HEAP_IOCTL_ALLOC, 4 KiB": "It makes a buffer that knows its size and which one it is: one fstat.",
    "ioctl: UDMABUF_CREATE, 4 KiB": "It asks the memory's seals before, since older kernels let some pass, and its own size afterwards: one fcntl, one fstat.",
    "ioctl: DRM_IOCTL_PRIME_HANDLE_TO_FD": "As the heaps' allocation: one fstat.",
    "ioctl: DRM_IOCTL_SYNCOBJ_CREATE": _COUNTED,
    "ioctl: DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE": _COUNTED,
    "ioctl: DRM_IOCTL_SYNCOBJ_DESTROY": "It drops the last of counted references, to the device too, and frees.",
    **{
        f"ioctl: DRM_IOCTL_{name}": "The kernel does not count a handle, so the file's handles are: a lock, and a node in a set."
        for name in ("PRIME_FD_TO_HANDLE", "GEM_CLOSE", "MODE_CREATE_DUMB")
    },
    "ioctl: VFIO_IOMMU_MAP_DMA, 4 KiB, by an ioas": "It finds the address, and makes a record by which the mapping can be shared, found and revoked.",
}

_WRAPPERS = next(group.rows for group in GROUPS if group.figure == "instructions")
_BRIDGES = next(group.rows for group in GROUPS if group.title == "A bridge with 10,000 pending")

TARGETS = [
    Target("create in place", 1.0, "kernel steps"),
    Target("create on the heap", 1.5),
    Target("create on the heap", 0.85, "make_shared<std::latch>"),
    Target("get and put", 1.05, "floor: two xadds"),
    Target("get and put", 1.05, "boost::intrusive_ptr"),
    Target("is_signaled", 1.1, "floor: load"),
    Target("is_signaled", 1.1, "std::latch"),
    Target("wait on signaled", 1.1, "floor: load"),
    Target("wait on signaled", 1.1, "raw futex"),
    Target("signal", 1.15, subject="paddock, no time"),
    Target("signal", 1.15, subject="paddock, given time"),
    Target("signal", 2.0, subject="paddock, TSC"),
    Target("signal", 1.1, "floor: exchange and clock", subject="paddock, clock"),
    Target("signal", 1.05, "std::latch", subject="paddock, no time"),
    Target("signal", 0.5, "std::stop_source", subject="paddock, no time"),
    Target("signal", 0.4, "kernel steps", subject="paddock, no time"),
    Target("signal", 0.75, "kernel steps, clock", subject="paddock, clock"),
    Target("add 1 and signal", 2.7),
    Target("add 8 and signal, each", 1.6),
    Target("add 64 and signal, each", 1.6),
    Target("add 8 and signal, each", 0.75, "kernel steps"),
    Target("add 8 and signal, each", 1.1, "spinlock and list"),
    *(Target(row, 0.05, "std::stop_source") for row in _CALLBACKS),
    *(Target(row, 3.6) for row in _REMOVALS),
    *(Target(row, 0.6, "std::stop_source") for row in _REMOVALS),
    Target("add and remove, alone", 1.1, "spinlock and list"),
    *(Target(row, 1.6, "spinlock and list") for row in _REMOVALS[1:]),
    Target("wait for all of 64, done", 1.2, "floor: 64 loads"),
    Target("wait for any of 64, last ready", 1.2, "floor: 64 loads"),
    Target("array of 64, each member", 3.6),
    Target("timeline: query", 1.2, "floor: load"),
    *(Target(row, 1.1, "std::atomic") for row in _POINTS),
    Target("add and remove, 2 threads", 0.6, "kernel steps", "near and far"),
    Target("get and put, 2 threads", 1.05, "floor: two xadds", "near and far"),
    Target("get and put, 2 threads", 1.05, "boost::intrusive_ptr", "near and far"),
    Target("signal to wake, spinning", 1.1, "floor: one line", "near and far"),
    Target("signal to wake, wait()", 1.2, "floor: one line", "near and far"),
    Target("signal to wake, wait()", 0.9, "std::atomic", "near and far"),
    Target("signal to wake, asleep", 1.05, "floor: raw futex", "ns"),
    Target("signal to wake, asleep", 1.05, "floor: raw futex", "signaler_ns"),
    *(Target(f"adds from {n} threads", 0.6, "kernel steps", "ns") for n in (2, 4, 8)),
    *(Target(f"adds from {n} threads", 1.0, "spinlock and list", "ns") for n in (4, 8)),
    Target("adds from 8 threads", 1.2, "adds from 2 threads/paddock", "ns"),
    Target("adds from 8 threads", 1 / 3, "spinlock and list", "stalls_per_million"),
    Target("signal among 8 removers", 5000, None, "p99_ns"),
    Target("signal among 8 removers", 0.1, "spinlock and list", "p99_ns"),
    Target(_READ, 1.4, "floor: pointers", subject="paddock, guard held"),
    Target(_READ, 2.2, "floor: pointers"),
    Target(_READ, 1.1, "liburcu qsbr", subject="paddock, guard held"),
    Target(_READ, 0.6, "liburcu memb"),
    *(
        Target("resv: test_signaled, 2 readers", 1.15, f"{_READ}/{subject}", subject=subject)
        for subject in ("paddock, guard held", "paddock")
    ),
    Target("resv: test_signaled, 2 readers", 0.1, "std::shared_mutex", "near and far"),
    *(
        Target("resv: test_signaled, a writer", 1.3, f"{_READ}/{subject}", subject=subject)
        for subject in ("paddock, guard held", "paddock")
    ),
    Target("resv: snapshot of 4", 8.8),
    Target("resv: snapshot of 4", 1.0, "std::atomic<std::shared_ptr>, guard", subject="paddock, guard"),
    Target("resv: reserve and add", 3.0),
    *(Target(f"resv: lock {n} of 64", 2.2 * n + 2) for n in (2, 4, 16)),
    *(Target(f"resv: lock {n} of 64", 0.85, "std::scoped_lock") for n in (2, 4, 16)),
    Target("resv: lock 4 of 64, 2 threads", 1.15, "std::scoped_lock", "near and far"),
    Target("resv: lock 4 of 64, 2 threads, 1 us inside", 0.6, "std::scoped_lock", "near and far"),
    *(Target("buffer: attach, map, unmap, detach", 6.0, subject=subject) for subject in ("paddock", "paddock, no auto_fence")),
    *(Target("buffer: map and unmap, lock held", 2.0, subject=subject) for subject in ("paddock", "paddock, no auto_fence")),
    Target("buffer: read by CPU", 2.5, "pthread_rwlock"),
    *(
        Target("buffer: move, 256 importers, each", 1.2, f"buffer: move, 16 importers, each/{subject}", subject=subject)
        for subject in ("paddock", "paddock, mapped")
    ),
    *(Target(row, 1.02, "raw ioctl", "instructions") for row in _WRAPPERS if row not in BEYOND),
    *(
        Target(row, 2.0, "bare epoll loop", "p99_ns", subject)
        for row in _BRIDGES
        for subject in ("paddock", "paddock, event loop")
    ),
    Target("route: load 517 functions", 1.2, "lspci -n -F", "ns"),
    Target("route: between two", 200, None, "ns"),
    Target("route: all of 100 endpoints", 5e6, None, "ns"),
    Target("route: nearest of 64 for 16", 100e3, None, "ns"),
    Target("pool: allocate and free", 1.5, "floor: Boost.ICL", "ns"),
]

# Said where that peer is faster in the run at hand: (row, or the beginning of it, peer): why.
WHY = {
    ("create", "std::latch"): "A latch is a counter: no callbacks, no error, no time, no identity.",
    ("create", "raw futex"): "It is one word.",
    ("create", "spinlock and list"): "It writes fewer fields.",
    ("create", "make_shared<std::latch>"): "It asks the allocator for half as much.",
    ("signal", "std::atomic"): "It has no locked instruction: a store, and a look whether somebody waits. It cannot "
    "tell two signalers apart, nor own a list.",
    ("signal among 8 removers", "mutex and condvar"): "Here nothing waits for a remover, who may find its function "
    "still running.",
    ("add and remove, 2 threads", "kernel steps"): "Its lock is unfair: one thread keeps it, and the cache line, for many "
    "operations in a row while the other starves; see the signals among removers for what that costs.",
    ("add and remove, 2 threads", "std::stop_source"): "As the kernel steps: who has the lock keeps it.",
    ("add and remove, 2 threads", "spinlock and list"): "As the kernel steps: who has the lock keeps it.",
    ("add and remove", "spinlock and list"): "One thread alone takes and leaves a lock for one locked instruction, and "
    "a removal without a lock needs two. It turns when more threads come.",
    ("add 64, remove", "spinlock and list"): "As with one callback.",
    ("add 64, remove", "kernel steps"): "As the spinlock and list, with one more locked instruction.",
    **{
        (row, "spinlock and list"): "A fence turns its stack round before it runs the callbacks in order, and writes into "
        "each who runs it, for those who remove it meanwhile; under a lock neither is needed."
        for row in _CALLBACKS
    },
    ("adds from 2 threads", "spinlock and list"): "As with two threads that add and remove.",
    ("adds from 2 threads", "kernel steps"): "As with two threads that add and remove.",
    ("adds from", "std::stop_source"): "Its lock is unfair: who has it keeps it, and the cache line.",
    ("adds from 2 threads", "mutex and condvar"): "The loser of its lock sleeps, and leaves the line to the other.",
    ("array of 64", "kernel steps"): "The array also holds a reference to each member, and can be waited for, failed and "
    "dropped early; the counter by hand cannot.",
    ("get and put, 2 threads", "boost::intrusive_ptr"): "A put here looks first whether it holds the last reference. "
    "That saves the locked instruction where it does; elsewhere the line may leave between the look and the count.",
    **{
        ("signal to wake, spinning", peer): "Its waiter is a bare loop, without the deadline and the result of wait()."
        for peer in ("std::latch", "raw futex", "kernel steps", "std::atomic")
    },
    ("get and put, 2 threads", "std::shared_ptr"): "As with boost::intrusive_ptr.",
    ("resv: lock", "one std::mutex"): "Two locked instructions for all of them. It also keeps those apart who want different "
    "objects: see two threads with work inside.",
    ("resv: lock", "sort and spinlock"): "It never sleeps, has no age, and has to know all of them beforehand.",
    ("resv: lock, reserve and add", "std::mutex and std::vector"): "It has no readers without the lock, so what leaves is dropped "
    "at once; here it waits for them, and the barrier for all threads is shared by 64.",
    ("resv: test_signaled", "liburcu qsbr"): "Its readers do nothing. Each thread has to say now and then that it reads "
    "nothing, and one that does not holds up all writers.",
    ("resv: test_signaled, a writer", "liburcu memb"): "Its writer here frees nothing, and counts no references.",
    ("resv: snapshot of 4", "liburcu memb, guard"): "Its thread is known beforehand; a reservation looks it up.",
    **{
        ("buffer: attach", peer): "Nobody else can do anything with its storage: it asks for no route, pins nothing, and keeps "
        "no record of a mapping by which a move or a revocation could take it away."
        for peer in ("std::mutex and std::list", "std::mutex and std::list, no auto_fence")
    },
    ("buffer: map", "std::mutex and std::list, no auto_fence"): "It adds one to a number.",
    ("buffer: read by CPU", "pthread_rwlock"): "It keeps writers out, and that is all: an access by CPU also waits for jobs, and "
    "holds moves and revocations off, for which it takes the buffer's lock at its beginning.",
    ("nvme_copy: 8 MiB", "paddock, system memory"): "QEMU serves an emulated controller's memory access by access.",
    ("bridge:", "bare epoll loop"): "It asks nobody how the fence ended, and takes the descriptor out only after its callback.",
    ("route: load", "lspci -F"): "It lists the functions, and puts them into no tree; the text is not looked through before.",
    ("route: load", "lspci -n -F"): "As lspci -F.",
    ("route:", "kernel steps, no list"): "It stops at how far and how many redirect: no list is asked, no quirk, and nothing is kept of "
    "the reasons. Its time grows with the product of the two ways, and these are short.",
}
