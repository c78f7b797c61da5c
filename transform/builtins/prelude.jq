# What gojq defines in jq itself, where that would get around the checks: here
# every operator and every call is a checked one, assignments are this
# package's, and recursion is counted. The definitions are gojq's but for
# assignments, cut texts and substitutions.

def map(f): [.[] | f];
def add(f): [f] | add;
def map_values(f): .[] |= f;
def in(xs): . as $x | xs | has($x);

def recurse: recurse(.[]?);
def recurse(f): def r: ., (f | r); r;
def recurse(f; cond): def r: ., (f | select(cond) | r); r;
def while(cond; update): def w: if cond then ., (update | w) else empty end; w;
def until(cond; next): def u: if cond then . else next | u end; u;
def repeat(f): def r: f, r; r;

def any: any(.);
def any(f): any(.[]; f);
def all: all(.);
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
  if length == 0 then [] else .[0][] as $x | [$x] + (.[1:] | combinations) end;
def combinations(n): [limit(n; repeat(.))] | combinations;

def walk(f):
  def w: if type == "array" then map(w) elif type == "object" then map_values(w) end | f;
  w;

def paths: path(..) | select(. != []);
def paths(f): path(.. | select(f)) | select(. != []);
def del(f): delpaths([path(f)]);
def pick(f): . as $v | reduce path(f) as $p (null; setpath($p; $v | getpath($p)));

# Assignments are gojq's, but $e, which the expression never sees, is told each path
# before it is set. Where gojq would delete, for f has no result, all that it
# could meet is copied first, and begun again: it writes to more than it deletes.
def setpath(p; x): _edit as $e | _setpath(p as $p | _place($e; $p) | $p; x) | _edited($e);
def _set(p; $x): _edit as $e | _assign(path(p) as $p | _place($e; $p) | getpath($p); $x) | _edited($e);
def _update(p; f):
  _edit as $e
  | (label $drop | _modify(path(p) as $p | _place($e; $p) | getpath($p); f, ($e | _drop | break $drop))),
    (if $e | _dropped then _copy | _modify(path(p) as $p | _place($e; $p) | getpath($p); f | _copy) else empty end)
  | _edited($e);

def tostream:
  path(def r: (.[]? | r), .; r) as $p
  | getpath($p)
  | reduce path(.[]?) as $q ([$p, .]; [$p + $q]);
def fromstream(f):
  foreach f as $pv (null;
    if .e then null end
    | $pv as [$p, $v]
    | if $pv | length == 2 then
        setpath(["v"] + $p; $v) | setpath(["e"]; $p | length == 0)
      else
        setpath(["e"]; $p | length == 1)
      end;
    if .e then .v else empty end);
def truncate_stream(f):
  . as $n | null | f | if .[0] | length > $n then .[0] |= .[$n:] else empty end;

def match($re; $flags): _match($re; $flags)[];
def match($re): if $re | type == "array" then match($re[0]; $re[1]) else match($re; null) end;
def test($re; $flags): _test($re; $flags);
def test($re): if $re | type == "array" then test($re[0]; $re[1]) else test($re; null) end;
def capture($re; $flags): match($re; $flags) | .captures | _captures;
def capture($re):
  if $re | type == "array" then capture($re[0]; $re[1]) else capture($re; null) end;
def scan($re; $flags):
  match($re; $flags + "g")
  | if .captures == [] then .string else [.captures[].string] end;
def scan($re): scan($re; null);
def split($re; $flags): _cut($re; $flags + "g");
def splits($re; $flags): split($re; $flags)[];
def splits($re): splits($re; null);
def sub($re; str; $flags):
  _substitute(_cut($re; $flags); [match($re; $flags) | .captures | _captures | [str]])[];
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
