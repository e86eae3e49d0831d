// SPDX-License-Identifier: BSL-1.0
#include <paddock/base/error.hpp>

#include <cerrno>
#include <string>
#include <string_view>

#include <paddock/base/errno_table.hpp>
#include <paddock/base/lost_error.hpp>

#include "catch.hpp"

using namespace paddock;

TEST_CASE("an errno becomes the code of its general meaning") {
  CHECK(error_from_errno(ENODEV, "anything").code == errc::no_device);
  CHECK(error_from_errno(EMFILE, "anything").code == errc::limit_reached);
  CHECK(error_from_errno(ENOTTY, "anything").code == errc::unsupported_by_kernel);
  CHECK(error_from_errno(EOPNOTSUPP, "anything").code == errc::unsupported_by_device);
  CHECK(error_from_errno(EPERM, "anything").code == errc::permission);
}

TEST_CASE("a call's own meaning of an errno wins over the general one") {
  CHECK(error_from_errno(ENOMEM, "VFIO_IOMMU_MAP_DMA").code == errc::limit_reached);
  CHECK(error_from_errno(ENOMEM, "mmap").code == errc::out_of_memory);
  CHECK(error_from_errno(EPERM, "VFIO_GROUP_SET_CONTAINER").code == errc::unsupported_by_platform);
  CHECK(error_from_errno(EINVAL, "VFIO_DEVICE_RESET").code == errc::unsupported_by_device);
}

TEST_CASE("an errno that no row knows is unexpected, and kept") {
  const error e = error_from_errno(EILSEQ, "open");
  CHECK(e.code == errc::unexpected);
  CHECK(e.sys_errno == EILSEQ);
}

TEST_CASE("no row of the errno table can hide another") {
  for (std::size_t i = 0; i < detail::errno_table.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const auto& a = detail::errno_table[i];
      const auto& b = detail::errno_table[j];
      INFO("rows " << j << " and " << i);
      CHECK_FALSE((a.call == b.call && a.sys_errno == b.sys_errno));
      CHECK_FALSE((b.call.empty() && a.sys_errno == b.sys_errno));
    }
  }
}

TEST_CASE("every code has a name of its own") {
  for (int a = 1; a <= static_cast<int>(errc::unexpected); ++a) {
    CHECK(std::string_view(name(static_cast<errc>(a))) != "unknown");
    for (int b = 1; b < a; ++b) {
      CHECK(std::string_view(name(static_cast<errc>(a))) != name(static_cast<errc>(b)));
    }
  }
  CHECK(std::string_view(name(static_cast<errc>(0))) == "unknown");
}

TEST_CASE("an error prints its code, its call and its errno") {
  CHECK(fmt::format("{}", error_from_errno(ENODEV, "ioctl")) == "no_device (ioctl: No such device)");
  CHECK(fmt::format("{}", error{errc::revoked, 0, "map"}) == "revoked (map)");
  CHECK(fmt::format("{:>8}", errc::io) == "      io");
}

namespace {
// What a plugin with hidden visibility would have: a category object of its own.
class other_plugins_category final : public std::error_category {
  [[nodiscard]] const char* name() const noexcept override { return "paddock"; }
  [[nodiscard]] std::string message(int) const override { return "x"; }
};
}  // namespace

TEST_CASE("an error_code compares equal to an errc across plugins") {
  const other_plugins_category theirs;
  CHECK(make_error_code(error{errc::busy, EBUSY, "x"}) == errc::busy);
  CHECK(std::error_code(static_cast<int>(errc::busy), theirs) == errc::busy);
  CHECK_FALSE(std::error_code(static_cast<int>(errc::busy), std::generic_category()) == errc::busy);
}

namespace {
error last_lost;
}  // namespace

TEST_CASE("a lost error reaches the handler that was set, and the default comes back") {
  const lost_error_handler before = set_lost_error_handler([](const error& e) noexcept { last_lost = e; });
  report_lost_error(error{errc::io, EIO, "close"});
  CHECK(last_lost == error{errc::io, EIO, ""});
  CHECK(before == &print_lost_error);
  set_lost_error_handler(nullptr);
  CHECK(set_lost_error_handler(nullptr) == &print_lost_error);
}
