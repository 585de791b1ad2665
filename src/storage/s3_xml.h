#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

/// The few XML documents of S3's API.
namespace lathe::storage {

struct S3Object {
  std::string key;
  std::uint64_t size = 0;
};

/// One page of ListObjectsV2 with encoding-type=url; keys are decoded.
struct S3Listing {
  std::vector<S3Object> objects;
  std::vector<std::string> folders;  ///< common prefixes, each with its '/'
  std::string next;                  ///< the token for the next page; empty: this is the last
};
Result<S3Listing> parse_listing(const std::string& xml);

/// One page of ListMultipartUploads.
struct S3Uploads {
  struct Upload {
    std::string key;
    std::string id;
    std::string initiated;  ///< "2026-05-01T12:30:00.000Z"
  };
  std::vector<Upload> uploads;
  std::string next_key, next_id;  ///< both empty: this is the last
};
Result<S3Uploads> parse_uploads(const std::string& xml);

/// The text of an element below the root; empty when there is none.
std::string element_text(const std::string& xml, const char* name);

/// S3's refusal: {"NoSuchKey", "The specified key does not exist."}. Empty when the document is not an Error.
struct S3Refusal {
  std::string code;
  std::string message;
  std::string region;  ///< where the bucket is, when that was wrong
};
S3Refusal parse_refusal(const std::string& xml);

/// The first key that a bulk deletion could not remove, with S3's words; empty when there is none.
std::string failed_deletion(const std::string& xml);

std::string deletion(const std::vector<std::string>& keys);
std::string completion(const std::vector<std::pair<int, std::string>>& parts);

}  // namespace lathe::storage
