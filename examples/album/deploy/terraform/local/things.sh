# things.sh create: makes all that `create` in main.tf names. Run again, it goes on where it ended.
# things.sh destroy | lookup: removes, or looks up, the one thing that the variables name.
#
# The work is done inside the containers of the backing services: nothing has to be published, no
# client installed, and what was begun there is finished even when this script is killed.
# Variables, in lower case because they are a claim's attributes: backing, region, owner, login, and
# thing and named (destroy, lookup) or the rest of main.tf's (create).

cd "$(dirname "$0")" || exit 1

# inside SERVICE ARGUMENT...: runs inside/SERVICE.sh in the container that Compose labelled so.
inside() {
  service=$1
  shift
  container=$(docker ps --quiet --filter "label=com.docker.compose.project=$backing" \
    --filter "label=com.docker.compose.service=$service") || exit 1
  if [ -z "$container" ]; then
    echo "no service '$service' runs in the Compose project '$backing'" >&2
    exit 1
  fi
  # Variables without a value are taken from the environment: a password shows in no process list.
  docker exec --env owner --env region --env login --env password \
    "${container%%[!0-9a-f]*}" sh -c "$(cat "inside/$service.sh")" "$service.sh" "$@"
}

one() {
  case $thing in
  database) inside mysql "$1" "$named" ;;
  queue | bucket) inside aws "$1" "$thing" "$named" ;;
  cache) inside redis "$1" "$named" ;;
  *)
    echo "nobody knows what '$thing' is" >&2
    exit 1
    ;;
  esac
}

case $1 in
create)
  inside mysql create "$database" &&
    (
      login=$shipping_login password=$shipping_password
      inside mysql create "$shipping_database"
    ) &&
    inside aws create queue "$dead_letter_queue" &&
    inside aws create queue "$queue" "$dead_letter_queue" &&
    inside aws create queue "$shipping_dead_letter_queue" &&
    inside aws create queue "$shipping_queue" "$shipping_dead_letter_queue" &&
    inside aws create bucket "$bucket"
  ;;
destroy | lookup) one "$1" ;;
*)
  echo "usage: things.sh create | destroy | lookup" >&2
  exit 2
  ;;
esac
