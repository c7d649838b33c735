#pragma once
// A model service on 127.0.0.1 that misbehaves on request: the first segment of the path says how.
//
//   ok, ok-N    an answer of N pieces (default 3): "word1 word2 word3", finish_reason, [DONE]
//   usage       the same, and a usage chunk (11 + 7 tokens) with empty choices
//   slow-N      the first piece after N ms
//   pace-N      pieces N ms apart until the client goes away
//   hang        never answers            drip      headers, then one comment every 100 ms
//   stall-N     N pieces, then silence   cut-N     N pieces, then a clean end without finish_reason
//   eof         like cut-2, but the socket closes inside the chunked body
//   done-only   2 pieces and [DONE]      rst       2 pieces, then a reset
//   garbage     1 piece, then broken JSON
//   error       1 piece, then an error object
//   refuse      closes without a byte    html      200 with a web page
//   json-error  200 with an error object 500, 401, 404, 429, 429-N (Retry-After: N)
//   redirect    302 to /ok/v1
//   huge        one event that never ends
//   split       bytes of "ok" one by one in separate writes
//   a,b,c       the first request of this script is answered by a, the second by b, all others by c
//
// GET /_stats: what there was, as JSON: the counters and a log with the times (microseconds since
// 1970) at which each request came and ended, and by whom. GET /_last: the latest request.
// Thread: one of its own. All counters may be read from any thread.

#include <memory>
#include <string>

namespace parlor::testing {

class faulty_upstream {
public:
  explicit faulty_upstream(unsigned short port = 0);
  ~faulty_upstream();
  unsigned short port() const;
  /// "http://127.0.0.1:PORT/<script>/v1"
  std::string base_url(const std::string& script) const;
  /// Requests whose header has arrived, /_stats not counted.
  int requests() const;
  /// Answers that the client cut before their end.
  int aborted() const;
  /// Connections ever accepted.
  int connections() const;
  /// The body and the whole header of the latest request.
  std::string last_body() const;
  std::string last_header() const;

private:
  struct server;
  class session;
  std::unique_ptr<server> server_;
};

} // namespace parlor::testing
