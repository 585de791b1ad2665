#pragma once

#include <string>
#include <string_view>

/// Small files and folders on a node.
namespace lathe::remote {

/// Makes all parents of `path` below `folder`.
bool make_parents(const std::string& folder, const std::string& path);
/// Writes a whole file.
bool write_file(const std::string& path, std::string_view content);
/// False when it cannot be read.
bool read_file(const std::string& path, std::string& content);
/// Without following links.
void remove_tree(const std::string& folder);
/// Opens and locks the file, and answers a descriptor that holds the lock. -1: somebody else holds it (errno is
/// EAGAIN), or it cannot be.
int take_lock(const std::string& path, int flags);
/// "what: No space left on device", from errno.
std::string because(const std::string& what);

}  // namespace lathe::remote
