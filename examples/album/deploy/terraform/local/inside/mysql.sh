# mysql.sh create | destroy | lookup DATABASE, run in the container. The mark is the database's
# comment: it is there from the same statement on that creates the database. The name must not have
# an underscore, which stands for any character in a grant.

verb=$1 database=$2

sql() {
  mariadb --batch --skip-column-names
}

# A row of its own tells "no such database" from "no answer".
comment=$(echo "SELECT schema_comment FROM information_schema.schemata WHERE schema_name = '$database';
  SELECT 'answered'" | sql) || exit 1
case $comment in
answered) state=absent ;;
"$owner"*) state=ours ;;
*) state=foreign ;;
esac

case $verb-$state in
create-foreign)
  echo "database $database exists and is not this environment's: use another name, or remove it" >&2
  exit 1
  ;;
create-*)
  [ "$state" = ours ] || echo "CREATE DATABASE \`$database\` COMMENT '$owner'" | sql || exit 1
  sql <<SQL || exit 1
CREATE OR REPLACE USER '$login'@'%' IDENTIFIED BY '$password';
GRANT ALL ON \`$database\`.* TO '$login'@'%';
SQL
  echo "database $database, user $login"
  ;;
destroy-*)
  [ "$state" != ours ] || echo "DROP DATABASE \`$database\`" | sql || exit 1
  echo "DROP USER IF EXISTS '$login'@'%'" | sql || exit 1
  echo "database $database was $state"
  ;;
lookup-*)
  users=$(echo "SELECT COUNT(*) FROM mysql.user WHERE user = '$login'" | sql) || exit 1
  echo "mysql: database $database is $state, user $login: $users"
  [ "$state" = ours ] || [ "$users" != 0 ] || exit 3
  ;;
esac
