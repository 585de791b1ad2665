#include "assets/artifact_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

namespace lathe::assets {
namespace {

Result<TreeFile> fetch_file(storage::Storage& artifacts, const std::string& from, std::string as,
                            const BlobStore& blobs) {
  LATHE_TRY(const auto response, artifacts.download(from, std::nullopt));
  LATHE_TRY(auto writer, blobs.start());
  TreeFile out{std::move(as), {}, 0, false};
  std::string piece;
  for (auto step = http::Source::Step::more; step != http::Source::Step::end;) {
    LATHE_TRY(step, response.source->read(piece));
    LATHE_CHECK(writer.write(piece));
    out.size += static_cast<std::int64_t>(piece.size());
    piece.clear();
  }
  LATHE_TRY(out.sha256, writer.finish());
  return out;
}

Result<void> send_file(storage::Storage& artifacts, const std::string& to, const BlobStore& blobs,
                       const TreeFile& file) {
  const Fd in{::open(blobs.path_of(file.sha256).c_str(), O_RDONLY | O_CLOEXEC)};
  if (!in) return fail(errno_error("cannot read " + file.path));
  LATHE_TRY(const auto sink, artifacts.upload(to, static_cast<std::uint64_t>(file.size)));
  std::vector<char> buffer(std::size_t{1} << 18);
  for (;;) {
    const auto got = ::read(in.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno_error("cannot read " + file.path));
    if (got == 0) break;
    LATHE_CHECK(sink->write({buffer.data(), static_cast<std::size_t>(got)}));
  }
  LATHE_CHECK(sink->finish());
  return {};
}

Result<void> send_all(storage::Storage& artifacts, const std::string& path, const BlobStore& blobs, const Tree& tree) {
  for (const auto& file : tree.files) LATHE_CHECK(send_file(artifacts, path + "/" + file.path, blobs, file));
  return {};
}

}  // namespace

Result<Tree> fetch_artifacts(storage::Storage& artifacts, const std::string& path, const BlobStore& blobs) {
  LATHE_TRY(const auto files, artifacts.files(path));
  std::vector<TreeFile> out;
  for (const auto& file : files) {
    LATHE_TRY(auto fetched, fetch_file(artifacts, path + "/" + file.path, file.path, blobs));
    if (fetched.size != static_cast<std::int64_t>(file.size))
      return fail(Code::conflict, file.path + " changed while it was read: try again when nothing writes it");
    out.push_back(std::move(fetched));
  }
  if (out.empty()) {
    LATHE_TRY(auto fetched, fetch_file(artifacts, path, path.substr(path.rfind('/') + 1), blobs));
    out.push_back(std::move(fetched));
  }
  return make_tree(std::move(out));
}

Result<void> lay_out_artifacts(storage::Storage& artifacts, const std::string& path, const BlobStore& blobs,
                               const Tree& tree) {
  if (const auto folder = artifacts.folder()) return blobs.lay_out(tree, *folder / path);
  const auto sent = send_all(artifacts, path, blobs, tree);
  if (!sent) (void)artifacts.remove(path);
  return sent;
}

}  // namespace lathe::assets
