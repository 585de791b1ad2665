#pragma once

#include <string>

namespace lathe {

/// The same for two programs exactly when they see the same files: this boot of this machine, with this root folder
/// (a container or chroot has another). Says nothing about the machine itself.
std::string machine_id();

}  // namespace lathe
