# After a destroy, says whether what one resource of the former state stood for is still there.
# On standard input {"address", "type", "name", "values"}, as `terraform show -json` has them.
# Ends with 0 when it is there, 3 when it is gone, anything else when that could not be found out;
# the evidence is on standard output.

# The attributes of a claim stand nowhere else in the object and need no unescaping, so that one
# line each is enough and no JSON tool has to be installed.
attributes=$(tr ',{}' '\n\n\n')
value() {
  echo "$attributes" | sed -n "s/^[[:space:]]*\"$1\"[[:space:]]*:[[:space:]]*\"\([^\"]*\)\".*/\1/p" | head -n 1
}

case $(value name) in
identity | shipping_identity | create)
  echo "stands for nothing outside of the state"
  exit 3
  ;;
claim) ;;
*)
  echo "lookup.sh does not know this resource" >&2
  exit 1
  ;;
esac
thing=$(value thing) named=$(value named)
backing=$(value backing) region=$(value region) owner=$(value owner) login=$(value login)
export thing named backing region owner login
exec sh "$(dirname "$0")/things.sh" lookup
