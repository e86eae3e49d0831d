// SPDX-License-Identifier: BSL-1.0
// Memory of a drive's own controller, lent by the kernel's driver: what it carries, where it ends, how it goes.
// For machines without an IOMMU that translates: behind one, QEMU does not deliver peer-to-peer transfers.
#include <grp.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csetjmp>
#include <csignal>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <paddock/buffer/dma_buf.hpp>
#include <paddock/buffer/mmio_access.hpp>
#include <paddock/kernel/p2pmem.hpp>
#include <paddock/kernel/p2pmem_exporter.hpp>

#include "drives.hpp"
#include "guest.hpp"

namespace paddock::kernel {

namespace {

using test::bind;
using test::drive;
using test::role;
using test::unwrap;

constexpr std::size_t size = 65536;

/// Runs `what` in a child, which exits with what it returns.
int in_child(const std::function<int()>& what) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(what());
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

/// What reading a byte there does: 0, or the signal.
int signal_of_reading(const void* address) {
  static sigjmp_buf back;
  struct sigaction catching {};
  struct sigaction before {};
  catching.sa_handler = [](int number) { siglongjmp(back, number); };
  REQUIRE(::sigaction(SIGBUS, &catching, &before) == 0);
  const int caught = sigsetjmp(back, 1);
  if (caught == 0) {
    static_cast<void>(*static_cast<const volatile char*>(address));
  }
  REQUIRE(::sigaction(SIGBUS, &before, nullptr) == 0);
  return caught;
}

std::string allocate_file(const pci::address& provider) {
  return "/sys/bus/pci/devices/" + to_string(provider) + "/p2pmem/allocate";
}

std::uint64_t available(const pci::address& provider) { return unwrap(p2pmem::statistics(provider)).available; }

/// The least of an io_uring: one read at a time.
class ring {
 public:
  ring() : fd_(unique_fd::adopt(static_cast<int>(::syscall(SYS_io_uring_setup, 1, &setup_)))) {
    REQUIRE(fd_.valid());
    REQUIRE((setup_.features & IORING_FEAT_SINGLE_MMAP) != 0);
    rings_ = map(setup_.cq_off.cqes + setup_.cq_entries * sizeof(io_uring_cqe) + 4096, IORING_OFF_SQ_RING);
    entries_ = reinterpret_cast<io_uring_sqe*>(map(sizeof(io_uring_sqe), IORING_OFF_SQES));
  }

  /// The result of the read: bytes, or a negative errno.
  int read(int file, void* to, unsigned length) {
    *entries_ = {};
    entries_->opcode = IORING_OP_READ;
    entries_->fd = file;
    entries_->addr = reinterpret_cast<std::uintptr_t>(to);
    entries_->len = length;
    word(setup_.sq_off.array).store(0);
    word(setup_.sq_off.tail).fetch_add(1);
    REQUIRE(::syscall(SYS_io_uring_enter, fd_.get(), 1, 1, IORING_ENTER_GETEVENTS, nullptr, 0) == 1);
    const std::uint32_t head = word(setup_.cq_off.head).fetch_add(1);
    const auto* const done = reinterpret_cast<io_uring_cqe*>(rings_ + setup_.cq_off.cqes);
    return done[head & word(setup_.cq_off.ring_mask).load()].res;
  }

  /// Returns 0 or the errno.
  int register_buffer(void* memory, std::size_t length) const {
    const iovec part{memory, length};
    return ::syscall(SYS_io_uring_register, fd_.get(), IORING_REGISTER_BUFFERS, &part, 1) == 0 ? 0 : errno;
  }

 private:
  std::byte* map(std::size_t length, off_t what) const {
    void* const at = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), what);
    REQUIRE(at != MAP_FAILED);
    return static_cast<std::byte*>(at);
  }
  [[nodiscard]] std::atomic_ref<std::uint32_t> word(std::uint32_t offset) const {
    return std::atomic_ref(*reinterpret_cast<std::uint32_t*>(rings_ + offset));
  }

  io_uring_params setup_{};
  unique_fd fd_;
  std::byte* rings_{nullptr};
  io_uring_sqe* entries_{nullptr};
};

}  // namespace

TEST_CASE("p2pmem: what one drive writes into it the other one reads, through either one's memory") {
  const drive a(role("DRIVE_A"));
  const drive b(role("DRIVE_B"));
  std::uint64_t seed = 1;
  for (const char* provider : {"DRIVE_A", "DRIVE_B"}) {
    const auto memory = unwrap(p2pmem::allocate(role(provider), size));
    CHECK(memory.size() == size);
    CHECK(memory.provider() == role(provider));
    a.put(++seed, size);
    CHECK(a.read(memory.address(), size) == 0);
    CHECK(test::holds(memory.mmio(), seed));
    CHECK(b.write(memory.address(), size) == 0);
    CHECK(b.has(seed, size));
  }
}

TEST_CASE("p2pmem: as a buffer it is what a drive reads into, and what the CPU has a window on") {
  const auto buffer = unwrap(dma_buf<p2pmem_exporter>::create(unwrap(p2pmem_exporter::create(role("DRIVE_A"), size))));
  const drive b(role("DRIVE_B"));
  b.put(31, size);
  {
    const auto held = unwrap(buffer->lock());
    CHECK(b.read(unwrap(buffer->storage(held))->segments()[0].address, size) == 0);
  }
  const auto window = unwrap(mmio_access<access::read>::begin(*buffer));
  CHECK(test::holds(window.window(), 31));
}

TEST_CASE("p2pmem: io_uring transfers it, and does not register it") {
  const auto memory = unwrap(p2pmem::allocate(role("DRIVE_A"), size));
  const drive b(role("DRIVE_B"));
  b.put(77, size);
  test::fill(memory.mmio(), 78);
  ring uring;
  CHECK(uring.read(b.fd().get(), memory.address(), size) == static_cast<int>(size));
  CHECK(test::holds(memory.mmio(), 77));
  const test::direct_memory ordinary(size);
  CHECK(uring.register_buffer(memory.address(), size) != 0);
  CHECK(uring.register_buffer(ordinary.address(), size) == 0);
}

TEST_CASE("p2pmem: a drive that may not reach it is refused, and the memory stays as it was") {
  const auto memory = unwrap(p2pmem::allocate(role("DRIVE_A"), size));
  const drive c(role("DRIVE_C"));
  test::fill(memory.mmio(), 5);
  CHECK(c.read(memory.address(), size) == EINVAL);
  CHECK(c.write(memory.address(), size) == EINVAL);
  CHECK(test::holds(memory.mmio(), 5));
}

TEST_CASE("p2pmem: all of it can be taken, then the limit is reached, and what is dropped comes back") {
  const pci::address provider = role("DRIVE_A");
  const pci::p2pmem_info before = unwrap(p2pmem::statistics(provider));
  CHECK(before.published);
  CHECK(before.available > size);
  CHECK(before.available <= before.size);
  CHECK(p2pmem::allocate(provider, before.size + 1).error() == error{errc::limit_reached, ENOMEM, ""});
  {
    std::vector<p2pmem> all;
    while (true) {
      auto next = p2pmem::allocate(provider, size - 1);
      if (!next) {
        CHECK(next.error() == error{errc::limit_reached, ENOMEM, ""});
        break;
      }
      REQUIRE(next->size() == size);
      all.push_back(std::move(*next));
      REQUIRE(available(provider) == before.available - all.size() * size);
    }
    CHECK(available(provider) < size);
    REQUIRE_FALSE(all.empty());
    REQUIRE(all.back().unmap());
    CHECK(all.back().size() == 0);
    CHECK(p2pmem::allocate(provider, size));
  }
  CHECK(available(provider) == before.available);
}

TEST_CASE("p2pmem: a forked child does not keep it") {
  const pci::address provider = role("DRIVE_A");
  const std::uint64_t before = available(provider);
  std::optional<p2pmem> memory = unwrap(p2pmem::allocate(provider, size));
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  memory.reset();
  CHECK(available(provider) == before);
  REQUIRE(::kill(child, SIGKILL) == 0);
  REQUIRE(::waitpid(child, nullptr, 0) == child);
}

TEST_CASE("p2pmem: errors are typed, and keep their errno") {
  const pci::address provider = role("DRIVE_A");
  const pci::address no_provider{0, 0, 0, 0};
  const pci::address nobody{0, 0xfe, 0, 0};
  for (const pci::address& none : {no_provider, nobody}) {
    CHECK(p2pmem::allocate(none, size).error() == error{errc::not_found, ENOENT, ""});
    CHECK(p2pmem::statistics(none).error() == errc::not_found);
  }
  CHECK(p2pmem::allocate(provider, 0).error() == errc::invalid_argument);
  CHECK(in_child([&] {
          if (::setgroups(0, nullptr) != 0 || ::setgid(65534) != 0 || ::setuid(65534) != 0) {
            return -1;
          }
          const auto refused = p2pmem::allocate(provider, size);
          return refused ? 0 : static_cast<int>(refused.error().code);
        }) == static_cast<int>(errc::permission));

  // Other ways to map than ours.
  const auto file = unwrap(detail::open(allocate_file(provider).c_str(), O_RDWR, "open(p2pmem/allocate)"));
  CHECK(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.get(), 0) == MAP_FAILED);
  CHECK(errno == EINVAL);
  CHECK(mapped_memory::map(file, access::read_write, size, size, "mmap(p2pmem/allocate)").error() ==
        error{errc::invalid_argument, EINVAL, ""});
}

TEST_CASE("p2pmem: the provider's driver lets go, and the kernel takes the pages back") {
  const pci::address provider = role("DRIVE_A");
  const drive b(role("DRIVE_B"));
  b.put(9, size);
  auto memory = unwrap(p2pmem::allocate(provider, size));
  const auto file = unwrap(detail::open(allocate_file(provider).c_str(), O_RDWR, "open(p2pmem/allocate)"));
  CHECK(signal_of_reading(memory.address()) == 0);

  bind(provider, "none");
  CHECK(signal_of_reading(memory.address()) == SIGBUS);
  CHECK(b.read(memory.address(), size) == EFAULT);
  CHECK(b.has(9, size));
  CHECK(p2pmem::allocate(provider, size).error() == error{errc::not_found, ENOENT, ""});
  CHECK(mapped_memory::map(file, access::read_write, 0, size, "mmap(p2pmem/allocate)").error() ==
        error{errc::no_device, ENODEV, ""});
  CHECK(memory.unmap());

  bind(provider, "nvme");
  memory = unwrap(p2pmem::allocate(provider, size));
  CHECK(b.read(memory.address(), size) == 0);
  CHECK(test::holds(memory.mmio(), 9));
}

}  // namespace paddock::kernel
