# From the lines of the load generator, whose labels are "<scenario> <contestant> <round>", a Markdown
# table: medians over the rounds (least–most), Parlor against nginx, and whether the goal is met.

def median: sort | if length % 2 == 1 then .[length / 2 | floor] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def digits(n): (. * pow(10; n) | round) / pow(10; n);
def show: if . >= 1000 then round elif . >= 100 then digits(0) elif . >= 10 then digits(1) else digits(2) end
  | tostring | if test("^[0-9]{4,}$") then gsub("(?<a>[0-9]{3})$"; " \(.a)") else . end;
def cell: "\(median | show) (\(min | show)–\(max | show))";

# Numbers of one contestant in one scenario, by round; `added`: less the direct one of the same round.
def numbers($all; $scenario; $who; $path; $added):
  [$all[] | select(.scenario == $scenario and .who == $who)] | sort_by(.round)
  | map(. as $run | ($run | getpath($path))
      - (if $added then ($all[] | select(.scenario == $scenario and .who == "direct" and .round == $run.round) | getpath($path)) else 0 end));

def rows: [
  ["first-1", "1: time to the first token, a stream at a time, p50, µs added", ["first_us", "p50"], true, "≤", 2, 1.3],
  ["first-1", "p99, µs in all", ["first_us", "p99"], false, "≤", 2.5, null],
  ["first-1", "CPU, µs a stream", ["cpu_us_per_stream"], false, null, null, null],
  ["first-50", "1: the same with 50 streams under way, p50, µs added", ["first_us", "p50"], true, "≤", 2, 1.3],
  ["first-50", "p99, µs in all", ["first_us", "p99"], false, "≤", 2.5, null],
  ["first-50", "CPU, µs a stream of 20 tokens", ["cpu_us_per_stream"], false, null, null, null],
  ["hop-50", "2: a token's way, 50 streams × 50 tokens/s, p50, µs", ["hop_us", "p50"], false, "≤", 1.5, 1.15],
  ["hop-50", "p99, µs", ["hop_us", "p99"], false, "≤", 2, null],
  ["hop-50", "CPU, µs a token", ["cpu_us_per_token"], false, null, null, null],
  ["hop-500", "2: a token's way, 500 streams × 20 tokens/s, p50, µs", ["hop_us", "p50"], false, "≤", 1.5, 1.15],
  ["hop-500", "p99, µs", ["hop_us", "p99"], false, "≤", 2, null],
  ["hop-500", "CPU, µs a token", ["cpu_us_per_token"], false, null, null, null],
  ["burst", "3: 16 streams of 64 tokens at once, tokens/s", ["tokens_per_s"], false, "≥", 0.6, 0.9],
  ["burst", "CPU, µs a token", ["cpu_us_per_token"], false, "≤", 1.8, null],
  ["one-write", "3: the same, 64 tokens in one write of the upstream, tokens/s", ["tokens_per_s"], false, null, null, null],
  ["one-write", "CPU, µs a token", ["cpu_us_per_token"], false, null, null, null],
  ["burst-kept", "3: the same, connections kept where the server lets them, tokens/s", ["tokens_per_s"], false, null, null, null],
  ["burst-kept", "CPU, µs a token", ["cpu_us_per_token"], false, null, null, null]
];

map(. + (.label | split(" ") | {scenario: .[0], who: .[1], round: (.[2] | tonumber)})) as $all
| "| Scenario and measure | direct | nginx | Parlor | Parlor : nginx | goal (must / stretch) |",
  "|---|---|---|---|---|---|",
  (rows[] | . as [$scenario, $what, $path, $added, $sign, $must, $stretch]
    | select($all | any(.scenario == $scenario))
    | numbers($all; $scenario; "direct"; $path; false) as $direct
    | numbers($all; $scenario; "nginx"; $path; $added) as $nginx
    | numbers($all; $scenario; "parlor"; $path; $added) as $parlor
    | (if ($nginx | median) > 0 then ($parlor | median) / ($nginx | median) else null end) as $ratio
    | (if $sign == null or $ratio == null then ""
       else (if $sign == "≤" then [$ratio <= $must, $ratio <= ($stretch // -1)] else [$ratio >= $must, $ratio >= ($stretch // infinite)] end) as [$ok, $better]
         | "\($sign) \($must)\(if $stretch then " / \($stretch)" else "" end): \(if $better then "**stretch met**" elif $ok then "met" else "**missed**" end)"
       end) as $goal
    # The CPU of the direct run is the upstream's own, no floor of a server's.
    | (if $path[0] | startswith("cpu") then "" else ($direct | cell) + (if $added then " in all" else "" end) end) as $floor
    | "| \($what) | \($floor) | \($nginx | cell) | \($parlor | cell) | \(if $ratio then ($ratio | show) + "×" else "" end) | \($goal) |")
