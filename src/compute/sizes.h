#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "compute/machine.h"

namespace lathe::compute {

/// A node's size by name: Azure's, or one of ours ("cpu-2": two cores and their share of the memory; "gpu-1"; "all").
struct Size {
  std::string name;
  Resources asked;   ///< what the name stands for
  Resources given;   ///< what a node of it gets here: `asked`, cut down to this machine
  bool mapped() const { return !(asked == given); }
};

/// All sizes that nodes may have on this machine. A size that needs a GPU is listed only where there is one.
std::vector<Size> sizes(const Resources& machine);

/// Upper and lower case do not matter. Errors: `invalid` — unknown, with the nearest; or it needs more GPUs than there are.
Result<Size> find_size(std::string_view name, const Resources& machine);

}  // namespace lathe::compute
