#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "compute/machine.h"

namespace lathe::compute {

/// What a node has, by name.
struct Size {
  enum class From {
    machine,        ///< shares of this machine: "cpu-2" (two cores and their part of the memory), "gpu-1", "gpu-0.5", "all"
    administrator,  ///< from the configuration
    azure,          ///< Azure's names, cut down to what is here
  };
  std::string name;
  Resources asked;  ///< what the name stands for
  Resources given;  ///< what a node of it gets here at most
  From from = From::machine;

  bool mapped() const { return !(asked == given); }
  /// A node of it takes what is there: "all" and Azure's larger sizes. Others are taken as they are.
  bool elastic() const { return name == "all" || (from == From::azure && mapped()); }
};

/// An administrator's sizes: "small=cores:2 memory:4GiB,half-gpu=cores:4 memory:16GiB gpu:0.5", as the setting `sizes` has
/// them. A gpu below 1 is a part of one GPU, which others share. Errors: `invalid`, naming the size.
Result<std::vector<Size>> parse_sizes(std::string_view text);

/// The sizes that nodes may have on a machine.
class Sizes {
 public:
  Sizes(const Resources& machine, std::vector<Size> own) : machine_(machine), own_(std::move(own)) {}

  const Resources& machine() const { return machine_; }
  /// All but Azure's that need more GPUs than there are.
  std::vector<Size> list() const;
  /// Upper and lower case do not matter; an administrator's size hides another of its name.
  /// Errors: `invalid` — unknown, with the nearest; or it needs more than there is.
  Result<Size> find(std::string_view name) const;
  /// What a node of the size takes on the machine where `reserved` of it is others': less than `given` if it is elastic,
  /// but a core at least.
  Resources node(const Size& size, const Resources& reserved) const;
  /// `amount`, but of cores and memory not more than half of the machine (a core at least).
  Resources at_most_half(Resources amount) const;

 private:
  Resources machine_;
  std::vector<Size> own_;
};

}  // namespace lathe::compute
