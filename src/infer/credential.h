#pragma once

#include <string_view>

#include "infer/catalog.h"

namespace lathe::infer {

/// The index of the endpoint's key that `given` is or, where the endpoint takes tokens, that has signed it. `digest`:
/// of `given`. Takes a time that does not depend on which it is. Errors: `unauthenticated` — a token whose time is
/// over; `forbidden` — none of them.
Result<std::size_t> check_credential(const Endpoint& endpoint, std::string_view given, const KeyDigest& digest);

}  // namespace lathe::infer
