#pragma once

#include <cstddef>
#include <string>

namespace lathe {

/// `bytes` bytes of the kernel's randomness, as lower-case hex. Fit for secrets.
std::string random_hex(std::size_t bytes);

/// A name such as "brave_otter_x3k9q2m4p1": what a job gets when nobody named it.
std::string random_name();

}  // namespace lathe
