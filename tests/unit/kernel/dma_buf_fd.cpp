// SPDX-License-Identifier: BSL-1.0
#include <paddock/kernel/dma_buf_fd.hpp>

#include <fcntl.h>

#include <string>
#include <type_traits>
#include <utility>

#include <paddock/buffer/cpu_access.hpp>
#include <paddock/kernel/dma_heap.hpp>

#include "catch.hpp"

// In the namespace, because at global scope `access` is also access(2).
// Moved-from objects are promised to be empty, and Catch2's checks are loops to clang-tidy.
// NOLINTBEGIN(bugprone-use-after-move)
namespace paddock::kernel {

static_assert(cpu_syncable<dma_buf_fd> && cpu_syncable<dma_buf_ref> && cpu_mapping<dma_buf_mapping>);
static_assert(std::is_trivially_copyable_v<dma_buf_ref>);
static_assert(!std::is_copy_constructible_v<dma_buf_fd> && !std::is_copy_constructible_v<dma_buf_mapping>);
static_assert(std::is_nothrow_move_constructible_v<dma_buf_fd> && std::is_nothrow_move_assignable_v<dma_buf_fd>);
// No owner from a view, and no view that outlives a temporary by accident.
static_assert(!std::is_constructible_v<dma_buf_fd, dma_buf_ref>);
static_assert(!std::is_copy_constructible_v<dma_buf_operations> &&
              !std::is_default_constructible_v<dma_buf_operations>);

namespace {
unique_fd null_fd() { return unique_fd::adopt(::open("/dev/null", O_RDWR | O_CLOEXEC)); }
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }
}  // namespace

TEST_CASE("a descriptor that is no dma-buf is refused, and consumed by adopt alone") {
  unique_fd other = null_fd();
  const int raw = other.get();
  CHECK(dma_buf_fd::borrow(other).error() == errc::bad_fd);
  CHECK(dma_buf_ref::borrow(other).error() == errc::bad_fd);
  CHECK(is_open(raw));
  CHECK(dma_buf_fd::adopt(std::move(other)).error() == errc::bad_fd);
  CHECK_FALSE(is_open(raw));
}

TEST_CASE("no descriptor at all is bad_fd") {
  CHECK(dma_buf_fd::adopt(unique_fd()).error() == errc::bad_fd);
  CHECK(dma_buf_ref::borrow(borrowed_fd()).error() == errc::bad_fd);
}

TEST_CASE("every call on an empty dma_buf_fd is an error, none a crash") {
  dma_buf_fd empty;
  CHECK_FALSE(empty.valid());
  CHECK(empty.size() == 0);
  CHECK(empty.id() == buffer_id{});
  CHECK(empty.map(access::read).error() == errc::bad_fd);
  CHECK(empty.map(access::read, 0, 4096).error() == errc::bad_fd);
  CHECK(empty.wait(access::read, deadline::never()).error() == errc::bad_fd);
  CHECK(empty.poll(access::write).error() == errc::bad_fd);
  CHECK(empty.export_sync_file(access::read).error() == errc::bad_fd);
  CHECK(empty.import_sync_file(sync_file::already_signaled(), access::read));
  CHECK(empty.set_name("x").error() == errc::bad_fd);
  CHECK(empty.info().error() == errc::bad_fd);
  CHECK(empty.dup().error() == errc::bad_fd);
  CHECK(empty.sync_start(access::read).error() == errc::bad_fd);
  CHECK_FALSE(std::move(empty).release().valid());
  std::byte byte{};
  CHECK(cpu_access<access::write>::begin(empty, std::span(&byte, 1)).error() == errc::bad_fd);
}

TEST_CASE("a name that fdinfo cannot show is refused before the kernel sees it") {
  const dma_buf_fd empty;
  CHECK(empty.set_name(std::string(32, 'x')).error() == errc::invalid_argument);
  CHECK(empty.set_name(std::string_view("a\0b", 3)).error() == errc::invalid_argument);
  CHECK(empty.set_name("a\nsize:\t1").error() == errc::invalid_argument);
}

TEST_CASE("fdinfo is read by key, whatever else is in it") {
  const auto info = parse_dma_buf_info(
      "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t7\nnew_key:\tx\nsize:\t8192\ncount:\t3\nexp_name:\tudmabuf\n"
      "name:\tcamera 0\n");
  REQUIRE(info);
  CHECK(info->name == "camera 0");
  CHECK(info->exporter == "udmabuf");
  CHECK(info->size == 8192);
  CHECK(info->references == 3);
}

TEST_CASE("a buffer's name may look like fdinfo and may be absent") {
  const auto forged = parse_dma_buf_info("size:\t4096\ncount:\t1\nexp_name:\tsystem\nname:\ta\nsize:\t1\n");
  REQUIRE(forged);
  CHECK(forged->size == 4096);
  CHECK(forged->name == "a\nsize:\t1");
  const auto renamed = parse_dma_buf_info("size:\t4096\ncount:\t1\nexp_name:\tsystem\nname:\ta\nname:\tb\n");
  CHECK(renamed->name == "a\nname:\tb");
  const auto unnamed = parse_dma_buf_info("size:\t4096\ncount:\t1\nexp_name:\tsystem\n");
  REQUIRE(unnamed);
  CHECK(unnamed->name.empty());
  const auto twice = parse_dma_buf_info("size:\t4096\nsize:\t1\ncount:\t1\nexp_name:\tsystem\nname:\t\n");
  REQUIRE(twice);
  CHECK(twice->size == 4096);
  CHECK(twice->name.empty());
}

TEST_CASE("fdinfo of another file or with broken numbers is an error") {
  CHECK(parse_dma_buf_info("").error() == errc::not_found);
  CHECK(parse_dma_buf_info("pos:\t0\nflags:\t0\n").error() == errc::not_found);
  CHECK(parse_dma_buf_info("size:\tmany\nexp_name:\tx\n").error() == errc::invalid_argument);
  CHECK(parse_dma_buf_info("size:\nexp_name:\tx\n").error() == errc::invalid_argument);
  CHECK(parse_dma_buf_info("count:\t-1\nexp_name:\tx\n").error() == errc::invalid_argument);
  CHECK(read_dma_buf_info(null_fd()).error() == errc::not_found);
}

TEST_CASE("a heap buffer keeps its identity over dup and shows its name") {
  const auto heap = dma_heap::open("system");
  if (!heap) {
    test::skip("no system heap on this kernel");
  }
  const auto buffer = heap->allocate(1, "unit");
  REQUIRE(buffer);
  const auto copy = buffer->dup();
  REQUIRE(copy);
  CHECK(*copy == *buffer);
  CHECK(copy->info()->name == "unit");
}

}  // namespace paddock::kernel
// NOLINTEND(bugprone-use-after-move)
