// SPDX-License-Identifier: BSL-1.0
// memfd.hpp, mapped_memory.hpp and udmabuf.hpp, as far as a kernel without udmabuf can show them.
#include <fcntl.h>
#include <sys/mman.h>

#include <limits>
#include <utility>

#include <paddock/kernel/memfd.hpp>
#include <paddock/kernel/udmabuf.hpp>

#include "catch.hpp"

// In the namespace, because at global scope `access` is also access(2).
namespace paddock::kernel {

static_assert(!std::is_copy_constructible_v<mapped_memory>);

namespace {
const std::uint64_t page = detail::page_size();
int lost_errors = 0;
}  // namespace

TEST_CASE("memory is whole pages, zeroed, sealed against shrinking, and CLOEXEC") {
  const auto memory = memfd::create(page + 1, "test");
  REQUIRE(memory);
  CHECK(memory->size() == 2 * page);
  const auto seals = memory->seals();
  REQUIRE(seals);
  CHECK((*seals & F_SEAL_SHRINK) != 0);
  CHECK((*seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) == 0);
  CHECK(::ftruncate(memory->fd().get(), 0) != 0);
  CHECK((::fcntl(memory->fd().get(), F_GETFD) & FD_CLOEXEC) != 0);
  const auto mapped = memory->map();
  REQUIRE(mapped);
  CHECK(mapped->bytes().size() == 2 * page);
  CHECK(mapped->bytes()[page] == std::byte{});
}

TEST_CASE("memory of no size or of an impossible one is refused") {
  CHECK(memfd::create(0).error() == errc::invalid_argument);
  CHECK(memfd::create(std::numeric_limits<std::uint64_t>::max()).error() == errc::out_of_range);
  CHECK(round_up_to_page(1) == page);
  CHECK(round_up_to_page(page) == page);
}

TEST_CASE("only a memfd is adopted as one") {
  CHECK(memfd::adopt(unique_fd::adopt(::open("/dev/null", O_RDWR | O_CLOEXEC))).error() == errc::bad_fd);
  CHECK(memfd::adopt(unique_fd()).error() == errc::bad_fd);
  auto made = memfd::create(page);
  REQUIRE(made);
  const auto again = memfd::adopt(std::move(*made).release());
  REQUIRE(again);
  CHECK(again->size() == page);
}

TEST_CASE("two mappings show the same bytes, also after the descriptor is closed") {
  auto memory = memfd::create(page);
  REQUIRE(memory);
  auto first = memory->map();
  auto second = memory->map(access::read);
  REQUIRE((first && second));
  { const unique_fd gone = std::move(*memory).release(); }
  first->bytes()[5] = std::byte{42};
  CHECK(second->bytes()[5] == std::byte{42});
}

TEST_CASE("a mapping is unmapped once, and never MAP_FAILED") {
  auto memory = memfd::create(page);
  REQUIRE(memory);
  auto mapped = memory->map();
  REQUIRE(mapped);
  mapped_memory moved = std::move(*mapped);
  CHECK(mapped->bytes().empty());  // NOLINT(bugprone-use-after-move): the moved-from state is promised.
  moved = std::move(*&moved);
  CHECK_FALSE(moved.bytes().empty());
  CHECK(moved.unmap());
  CHECK(moved.bytes().empty());
  CHECK(moved.unmap());
}

TEST_CASE("a mapping that cannot be is a typed error") {
  const auto memory = memfd::create(page);
  REQUIRE(memory);
  CHECK(mapped_memory::map(memory->fd(), access::read, 1, page).error() == errc::misaligned);
  CHECK(mapped_memory::map(memory->fd(), access::read, 0, 0).error() == errc::invalid_argument);
  CHECK(mapped_memory::map(memory->fd(), access::read, page, std::numeric_limits<std::uint64_t>::max()).error() ==
        errc::out_of_range);
  CHECK(mapped_memory::map(borrowed_fd(), access::read, 0, page).error() == errc::bad_fd);
  const unique_fd folder = unique_fd::adopt(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  CHECK(mapped_memory::map(folder, access::read, 0, page).error() == errc::not_mappable);
}

TEST_CASE("udmabuf tells a missing node from one that may not be opened") {
  const auto device = udmabuf_device::open("/nonexistent");
  REQUIRE_FALSE(device);
  CHECK(device.error() == errc::unsupported_by_kernel);
  CHECK(device.error().sys_errno == ENOENT);
}

// What is checked before the kernel is called can be seen with any node; a window that leaves its memory is found
// afterwards, see tests/vm/cases/kernel_buffers.cpp.
TEST_CASE("udmabuf refuses windows with the reason that the kernel does not give") {
  const auto device = udmabuf_device::open("/dev/null");
  REQUIRE(device);
  const auto memory = memfd::create(4 * page);
  REQUIRE(memory);
  const borrowed_fd fd = memory->fd();
  const auto code = [&](udmabuf_window window) {
    const auto one = device->create(window);
    const auto list = device->create(std::span<const udmabuf_window>(&window, 1));
    REQUIRE_FALSE((one || list));
    CHECK(one.error() == list.error());
    return one.error().code;
  };
  CHECK(code({fd, page / 2, page}) == errc::misaligned);
  CHECK(code({fd, 0, page / 2}) == errc::misaligned);
  CHECK(code({fd, 0, 0}) == errc::invalid_argument);
  CHECK(code({borrowed_fd(), 0, page}) == errc::bad_fd);
  CHECK(code({device->fd(), 0, page}) == errc::bad_fd);
  CHECK(device->create(std::span<const udmabuf_window>()).error() == errc::invalid_argument);

  const unique_fd unsealed = unique_fd::adopt(::memfd_create("t", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  REQUIRE(::ftruncate(unsealed.get(), static_cast<off_t>(page)) == 0);
  CHECK(code({unsealed, 0, page}) == errc::invalid_argument);
  REQUIRE(::fcntl(unsealed.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE) == 0);
  CHECK(code({unsealed, 0, page}) == errc::invalid_argument);

  // All is well with this one: the kernel is asked, and /dev/null has no such ioctl.
  CHECK(code({fd, page, 3 * page}) == errc::unsupported_by_kernel);
}

TEST_CASE("an unmap that fails is reported") {
  set_lost_error_handler([](const error&) noexcept { ++lost_errors; });
  {
    const auto memory = memfd::create(page);
    const auto mapped = memory->map();
    REQUIRE(mapped);
  }
  set_lost_error_handler(nullptr);
  CHECK(lost_errors == 0);
}

}  // namespace paddock::kernel
