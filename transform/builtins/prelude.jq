# What gojq defines in jq itself, where that would get around the guards: here
# every operator and every call is a guarded one. A name with an underscore is
# a function of functions.go, or one of gojq's own.

def map(f): [.[] | f];
def map_values(f): .[] |= f;
def recurse: def r: ., (.[]? | r); r;
def add(f): [f] | add;
def in(xs): . as $x | xs | has($x);
def abs: if . < 0 then -. else . end;
def finites: select(isfinite);
def normals: select(isnormal);

def first: .[0];
def last: .[-1];
def nth($i): .[$i];

def range($to): _range(0; $to; 1);
def range($from; $to): _range($from; $to; 1);
def range($from; $to; $by): _range($from; $to; $by);

def any: any(.[]; .);
def any(f): any(.[]; f);
def all: all(.[]; .);
def all(f): all(.[]; f);

def to_entries: [keys[] as $k | {key: $k, value: .[$k]}];
def from_entries:
  map({(.key // .Key // .name // .Name): (if has("value") then .value else .Value end)})
  | add // {};
def with_entries(f): to_entries | map(f) | from_entries;

def sort_by(f): _sort_by(map([f]));
def group_by(f): _group_by(map([f]));
def unique_by(f): _unique_by(map([f]));
def min_by(f): _min_by(map([f]));
def max_by(f): _max_by(map([f]));

def combinations:
  if length == 0 then [] else .[0][] as $head | .[1:] | combinations | [$head] + . end;
def combinations($n): [limit($n; repeat(.))] | combinations;

def walk(f):
  def w: if type == "array" then map(w) elif type == "object" then map_values(w) else . end | f;
  w;

def paths: path(..) | select(. != []);
def paths(f): path(.. | select(f)) | select(. != []);
def del(f): delpaths([path(f)]);
def pick(f): . as $in | reduce path(f) as $p (null; setpath($p; $in | getpath($p)));

# An assignment builds its result in $u, which the expression never sees.
def _assign(p; $x): _edit as $u | reduce path(p) as $p (null; $u | _set($p; $x)) | $u | _edited;
def _modify(p; f):
  _edit as $u
  | reduce path(p) as $p (null;
      label $done
      | (($u | _get($p) | f) as $x | $u | _set($p; $x) | ., break $done),
        ($u | _drop($p)))
  | $u | _edited;

def tostream:
  path(def r: (.[]? | r), .; r) as $p
  | getpath($p)
  | reduce path(.[]?) as $q ([$p, .]; [$p + $q]);
def fromstream(f):
  foreach f as $e ({};
    (if .done then {} else . end)
    | if ($e | length) > 1
      then {value: (.value | setpath($e[0]; $e[1])), done: ($e[0] | length == 0)}
      else .done = ($e[0] | length == 1) end;
    if .done then .value else empty end);
def truncate_stream(f):
  . as $n | null | f | if (.[0] | length) > $n then .[0] |= .[$n:] else empty end;

def fromdateiso8601: strptime("%Y-%m-%dT%H:%M:%S%z") | mktime;
def todateiso8601: strftime("%Y-%m-%dT%H:%M:%SZ");
def fromdate: fromdateiso8601;
def todate: todateiso8601;

def match($re; $flags): _match($re; $flags; false)[];
def match($re): if $re | type == "array" then match($re[0]; $re[1]) else match($re; null) end;
def test($re; $flags): _match($re; $flags; true);
def test($re): if $re | type == "array" then test($re[0]; $re[1]) else test($re; null) end;
def capture($re; $flags): match($re; $flags) | .captures | _captures;
def capture($re):
  if $re | type == "array" then capture($re[0]; $re[1]) else capture($re; null) end;
def scan($re; $flags):
  match($re; $flags + "g")
  | if .captures == [] then .string else [.captures[].string] end;
def scan($re): scan($re; null);
def split($re; $flags): _cut(_match($re; $flags + "g"; false));
def splits($re; $flags): split($re; $flags)[];
def splits($re): split($re; null)[];
def sub($re; str; $flags):
  _match($re; $flags; false) as $m
  | _substitute($m; [$m[] | .captures | _captures | [str]])[];
def sub($re; str): sub($re; str; null);
def gsub($re; str; $flags): sub($re; str; $flags + "g");
def gsub($re; str): sub($re; str; "g");

def INDEX(stream; f): reduce stream as $row ({}; .[$row | f | tostring] = $row);
def INDEX(f): INDEX(.[]; f);
def JOIN($idx; f): [.[] | [., $idx[f]]];
def JOIN($idx; stream; f): stream | [., $idx[f]];
def JOIN($idx; stream; f; join): stream | [., $idx[f]] | join;
def IN(s): any(s == .; .);
def IN(src; s): any(src == s; .);

def format($name):
  if $name == "text" then tostring
  elif $name == "json" then tojson
  elif $name == "html" then @html
  elif $name == "uri" then @uri
  elif $name == "urid" then @urid
  elif $name == "csv" then @csv
  elif $name == "tsv" then @tsv
  elif $name == "sh" then @sh
  elif $name == "base64" then @base64
  elif $name == "base64d" then @base64d
  else error("format not defined: @\($name)") end;
