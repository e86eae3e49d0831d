// SPDX-License-Identifier: BSL-1.0
#include <paddock/kernel/probe.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <string_view>

#include "catch.hpp"

// In the namespace, because at global scope `access` is also access(2).
namespace paddock::kernel {

TEST_CASE("a call that is refused as expected is there, ENOTTY is not, the rest is unknown") {
  const auto refused = [](int sys_errno) {
    return detail::read_refusal(fail(error_from_errno(sys_errno, "DMA_BUF_IOCTL_EXPORT_SYNC_FILE")), EINVAL);
  };
  CHECK(refused(EINVAL).is_yes());
  CHECK(refused(ENOTTY).value == answer::no);
  CHECK(refused(ENOTTY).reason == errc::unsupported_by_kernel);
  CHECK(refused(EPERM).value == answer::unknown);
  CHECK(refused(EPERM).reason.sys_errno == EPERM);
  CHECK(detail::read_refusal(0, EINVAL).is_yes());
}

TEST_CASE("something that cannot be opened is a no with its errno, an exhausted limit is no answer") {
  const auto attempt = [](errc code, int sys_errno) {
    return detail::read_attempt(result<int>(fail(error{code, sys_errno, "open"})));
  };
  CHECK(attempt(errc::not_found, ENOENT).value == answer::no);
  CHECK(attempt(errc::permission, EACCES).value == answer::no);
  CHECK(attempt(errc::permission, EACCES).reason.sys_errno == EACCES);
  CHECK(attempt(errc::limit_reached, EMFILE).value == answer::unknown);
  CHECK(detail::read_attempt(result<int>(1)).is_yes());
}

TEST_CASE("probing answers for every feature, and says why unless it is yes") {
  for (const feature f : all_features) {
    const probe_answer answered = probe(f);
    INFO(name(f) << " " << name(answered.value) << " " << fmt::format("{}", answered.reason));
    CHECK((answered.is_yes() || answered.reason.sys_errno != 0));
  }
  CHECK(probe(feature::memfd_sealing).is_yes());
}

TEST_CASE("without /dev/udmabuf the answer agrees with the node") {
  const bool exists = ::access("/dev/udmabuf", F_OK) == 0;
  if (exists) {
    test::skip("/dev/udmabuf exists: the VM cases look at that side");
  }
  CHECK(probe(feature::udmabuf).value == answer::no);
  CHECK(probe(feature::udmabuf).reason == errc::unsupported_by_kernel);
}

TEST_CASE("features and answers have names of their own") {
  for (const feature a : all_features) {
    CHECK(std::string_view(name(a)) != "unknown");
    for (const feature b : all_features) {
      CHECK((a == b) == (std::string_view(name(a)) == name(b)));
    }
  }
  CHECK(std::string_view(name(answer::yes)) == "yes");
}

}  // namespace paddock::kernel
