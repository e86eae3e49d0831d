// SPDX-License-Identifier: BSL-1.0
// References are taken and dropped by several; the last one frees the fence after every use.
#include <model.hpp>

namespace paddock::model {
namespace {

struct references : suite<references, 2> {
  void before() {
    shared = new fence;
    shared->state.get();
  }
  void thread(unsigned) {
    shared->state.get();
    shared->put();
    static_cast<void>(shared->work.get());
    shared->put();
  }
  fence* shared{nullptr};
};

const registered entry{"references", "of two holders", unbounded, &run_suite<references>};

}  // namespace
}  // namespace paddock::model
