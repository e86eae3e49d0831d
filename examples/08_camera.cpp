// SPDX-License-Identifier: BSL-1.0
// A camera writes into buffers of ours, and lends us buffers of its own: both are pictures with a layout, and the CPU
// looks at each between START and END. It takes the kernel's test camera, vivid: modprobe vivid.
#include <fcntl.h>
#include <linux/videodev2.h>

#include <array>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <paddock/buffer/cpu_access.hpp>
#include <paddock/buffer/layout.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/kernel/dma_buf_fd.hpp>
#include <paddock/kernel/udmabuf.hpp>

using namespace paddock;

namespace {

constexpr std::uint32_t count = 3;
constexpr std::uint32_t capture = V4L2_BUF_TYPE_VIDEO_CAPTURE;
constexpr fourcc format = make_fourcc('X', 'R', '2', '4');  // The same number in V4L2 and in DRM.

template <class Argument>
result<void> ask(borrowed_fd camera, unsigned long request, Argument& argument, const char* name) {
  PADDOCK_TRY_VOID(detail::ioctl(camera, request, &argument, name));
  return {};
}

result<unique_fd> open_camera() {
  for (int number = 0; number < 64; ++number) {
    auto camera = detail::open(fmt::format("/dev/video{}", number).c_str(), O_RDWR, "open(/dev/video)");
    v4l2_capability can{};
    if (camera && ask(*camera, VIDIOC_QUERYCAP, can, "VIDIOC_QUERYCAP") &&
        std::strcmp(reinterpret_cast<const char*>(can.driver), "vivid") == 0 &&
        (can.device_caps & V4L2_CAP_VIDEO_CAPTURE) != 0) {
      return camera;
    }
  }
  return fail(errc::not_found, "no vivid camera");
}

/// How the camera's pictures lie in their buffers, in paddock's words.
result<layout> choose_format(borrowed_fd camera) {
  v4l2_format wanted{};
  wanted.type = capture;
  wanted.fmt.pix.width = 320;
  wanted.fmt.pix.height = 180;
  wanted.fmt.pix.pixelformat = format.value();
  wanted.fmt.pix.field = V4L2_FIELD_NONE;
  PADDOCK_TRY_VOID(ask(camera, VIDIOC_S_FMT, wanted, "VIDIOC_S_FMT"));
  layout picture;
  picture.format = fourcc(wanted.fmt.pix.pixelformat);
  picture.width = wanted.fmt.pix.width;
  picture.height = wanted.fmt.pix.height;
  picture.plane_count = 1;
  picture.buffer_count = 1;
  picture.planes[0].stride = wanted.fmt.pix.bytesperline;
  return picture;
}

v4l2_buffer buffer_of(std::uint32_t index, v4l2_memory memory) {
  v4l2_buffer made{};
  made.type = capture;
  made.memory = memory;
  made.index = index;
  return made;
}

/// One picture into each of these buffers, and how many colors are in its first row.
result<void> look_at(borrowed_fd camera, const layout& picture, const std::vector<kernel::dma_buf_ref>& buffers,
                     v4l2_memory memory) {
  for (const kernel::dma_buf_ref& each : buffers) {
    const std::uint64_t size = each.size();
    PADDOCK_TRY_VOID(check(picture, {&size, 1}));  // Whatever the camera said, it fits.
    v4l2_buffer queued = buffer_of(static_cast<std::uint32_t>(&each - buffers.data()), memory);
    queued.m.fd = memory == V4L2_MEMORY_DMABUF ? each.fd().get() : 0;
    PADDOCK_TRY_VOID(ask(camera, VIDIOC_QBUF, queued, "VIDIOC_QBUF"));
  }
  int type = capture;
  PADDOCK_TRY_VOID(ask(camera, VIDIOC_STREAMON, type, "VIDIOC_STREAMON"));
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    v4l2_buffer filled = buffer_of(0, memory);
    PADDOCK_TRY_VOID(ask(camera, VIDIOC_DQBUF, filled, "VIDIOC_DQBUF"));  // Blocks until a picture is there.
    PADDOCK_TRY(const auto mapping, buffers[filled.index].map(access::read));
    PADDOCK_TRY(const auto seen, cpu_access<access::read>::begin(mapping));
    std::set<std::uint32_t> colors;
    for (std::uint32_t x = 0; x < picture.width; ++x) {
      std::uint32_t pixel = 0;
      std::memcpy(&pixel, seen.bytes().data() + x * sizeof pixel, sizeof pixel);
      colors.insert(pixel);
    }
    fmt::print("picture {} in buffer {}: {} colors in the first row\n", filled.sequence, filled.index, colors.size());
    if (colors.size() < 2) {
      return fail(errc::io, "the camera shows no bars");
    }
  }
  return ask(camera, VIDIOC_STREAMOFF, type, "VIDIOC_STREAMOFF");
}

result<void> request_buffers(borrowed_fd camera, std::uint32_t wanted, v4l2_memory memory) {
  v4l2_requestbuffers request{};
  request.count = wanted;
  request.type = capture;
  request.memory = memory;
  return ask(camera, VIDIOC_REQBUFS, request, "VIDIOC_REQBUFS");
}

/// The camera writes into memory of ours, as it could into a GPU's.
result<void> capture_into_ours(borrowed_fd camera, const layout& picture) {
  PADDOCK_TRY(const std::uint64_t size, bytes_of_buffer(picture, 0));
  PADDOCK_TRY(const auto device, kernel::udmabuf_device::open());
  std::vector<kernel::udmabuf> memory;
  std::vector<kernel::dma_buf_ref> buffers;
  for (std::uint32_t i = 0; i < count; ++i) {
    PADDOCK_TRY(auto made, kernel::udmabuf::create(device, size, "picture"));
    buffers.push_back(made.buffer().borrow());
    memory.push_back(std::move(made));
  }
  PADDOCK_TRY_VOID(request_buffers(camera, count, V4L2_MEMORY_DMABUF));
  PADDOCK_TRY_VOID(look_at(camera, picture, buffers, V4L2_MEMORY_DMABUF));
  return request_buffers(camera, 0, V4L2_MEMORY_DMABUF);
}

/// The camera's own memory, as dma-bufs that a GPU or a display could import.
result<void> capture_into_theirs(borrowed_fd camera, const layout& picture) {
  PADDOCK_TRY_VOID(request_buffers(camera, count, V4L2_MEMORY_MMAP));
  std::vector<kernel::dma_buf_fd> memory;
  std::vector<kernel::dma_buf_ref> buffers;
  for (std::uint32_t i = 0; i < count; ++i) {
    v4l2_exportbuffer exported{};
    exported.type = capture;
    exported.index = i;
    exported.flags = O_RDWR | O_CLOEXEC;
    PADDOCK_TRY_VOID(ask(camera, VIDIOC_EXPBUF, exported, "VIDIOC_EXPBUF"));
    PADDOCK_TRY(auto made, kernel::dma_buf_fd::adopt(unique_fd::adopt(exported.fd)));
    buffers.push_back(made.borrow());
    memory.push_back(std::move(made));
  }
  return look_at(camera, picture, buffers, V4L2_MEMORY_MMAP);
}

result<void> run() {
  PADDOCK_TRY(const unique_fd camera, open_camera());
  PADDOCK_TRY(const layout picture, choose_format(camera));
  fmt::print("{}x{} {}, a row in {} bytes\n", picture.width, picture.height, picture.format, picture.planes[0].stride);
  PADDOCK_TRY_VOID(capture_into_ours(camera, picture));
  return capture_into_theirs(camera, picture);
}

}  // namespace

int main() {
  if (const auto done = run(); !done) {
    fmt::print("{}{}\n", done.error() == errc::not_found ? "SKIPPED: " : "", done.error());
    return done.error() == errc::not_found ? 77 : 1;  // 77: there is no such camera, so there is nothing to show.
  }
}
