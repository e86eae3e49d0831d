// SPDX-License-Identifier: BSL-1.0
#include <paddock/kernel/dma_heap.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <limits>
#include <string>

#include <paddock/kernel/dma_heap_list.hpp>

#include "catch.hpp"

// In the namespace, because at global scope `access` is also access(2).
namespace paddock::kernel {

namespace {

/// A folder that looks like /dev/dma_heap.
struct heap_folder {
  std::string path{"/tmp/paddock-heaps-XXXXXX"};
  std::vector<std::string> names;

  explicit heap_folder(std::vector<std::string> heaps) : names(std::move(heaps)) {
    REQUIRE(::mkdtemp(path.data()) != nullptr);
    for (const auto& heap : names) {
      const unique_fd made = unique_fd::adopt(::open((path + "/" + heap).c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
      REQUIRE(made.valid());
    }
  }
  ~heap_folder() {
    for (const auto& heap : names) {
      ::unlink((path + "/" + heap).c_str());
    }
    ::rmdir(path.c_str());
  }
};

}  // namespace

TEST_CASE("a heap's name is one component of a path") {
  for (const auto& bad : {std::string(), std::string("."), std::string(".."), std::string("../udmabuf"),
                          std::string("a/b"), std::string("a\0b", 3), std::string(256, 'x')}) {
    INFO(bad);
    CHECK(dma_heap::open(bad).error() == errc::invalid_argument);
  }
}

TEST_CASE("a heap that does not exist is not found, and no other one is taken") {
  const heap_folder folder({"system"});
  const auto heap = dma_heap::open("sytem", folder.path.c_str());
  REQUIRE_FALSE(heap);
  CHECK(heap.error() == errc::not_found);
  CHECK(heap.error().sys_errno == ENOENT);
}

TEST_CASE("a file that is no heap is found out by the first allocation") {
  const heap_folder folder({"system"});
  const auto heap = dma_heap::open("system", folder.path.c_str());
  REQUIRE(heap);
  CHECK(heap->name() == "system");
  const auto buffer = heap->allocate(4096);
  REQUIRE_FALSE(buffer);
  CHECK(buffer.error() == errc::bad_fd);
  CHECK(buffer.error().sys_errno == ENOTTY);
}

TEST_CASE("more than the machine has is refused before the kernel tries") {
  const heap_folder folder({"system"});
  const auto heap = dma_heap::open("system", folder.path.c_str());
  REQUIRE(heap);
  CHECK(heap->allocate(std::uint64_t{1} << 50U).error() == errc::limit_reached);
  CHECK(heap->allocate(std::numeric_limits<std::uint64_t>::max()).error() == errc::limit_reached);
}

TEST_CASE("heaps are listed by directory and sorted by name") {
  const heap_folder folder({"system", "default_cma_region", "protected,video", "vendor"});
  const auto heaps = list_dma_heaps(folder.path.c_str());
  REQUIRE(heaps);
  REQUIRE(heaps->size() == 4);
  CHECK((*heaps)[0].name == "default_cma_region");
  CHECK((*heaps)[0].contiguous == answer::yes);
  CHECK((*heaps)[1].cpu_access == answer::no);
  CHECK((*heaps)[2].contiguous == answer::no);
  CHECK((*heaps)[3].contiguous == answer::unknown);
  CHECK_FALSE((*heaps)[3].refused);
  CHECK(list_dma_heaps("/nonexistent").error() == errc::unsupported_by_kernel);
}

TEST_CASE("ranking says which heaps will do, and why the others do not") {
  std::vector<dma_heap_description> heaps{describe_dma_heap("vendor"), describe_dma_heap("system"),
                                          describe_dma_heap("linux,cma"), describe_dma_heap("reserved"),
                                          describe_dma_heap("protected,video")};
  heaps[3].refused = error_from_errno(EACCES, "open");

  const auto strict = rank_dma_heaps(heaps, {.contiguous = true, .cpu_access = true});
  REQUIRE(strict.size() == 5);
  CHECK(strict[0].heap.name == "linux,cma");
  CHECK_FALSE(strict[0].rejected);
  CHECK(strict[1].heap.name == "vendor");
  CHECK(strict[1].rejected);
  CHECK(strict[2].rejected == error{errc::unsupported_by_device, 0, ""});
  CHECK(strict[3].rejected->sys_errno == EACCES);
  CHECK(strict[4].rejected == error{errc::not_mappable, 0, ""});

  const auto lenient = rank_dma_heaps(heaps, {.contiguous = true, .accept_unknown = true});
  CHECK(lenient[0].heap.name == "linux,cma");
  CHECK(lenient[1].heap.name == "vendor");
  CHECK_FALSE(lenient[1].rejected);
  CHECK(lenient[2].heap.name == "protected,video");
  CHECK_FALSE(lenient[2].rejected);
  CHECK(lenient[3].rejected);

  const auto any = rank_dma_heaps(heaps, {});
  CHECK(any[0].heap.name == "vendor");
  CHECK(any[4].heap.name == "reserved");
}

TEST_CASE("the system heap gives whole pages") {
  const auto heap = dma_heap::open("system");
  if (!heap) {
    test::skip("no system heap on this kernel");
  }
  const auto buffer = heap->allocate(1);
  REQUIRE(buffer);
  CHECK(buffer->size() == detail::page_size());
}

}  // namespace paddock::kernel
