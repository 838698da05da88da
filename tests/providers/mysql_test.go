package main

import (
	"database/sql"
	"os/exec"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
)

const admin = "double"

// server is the database that backing services have, with an administrator who
// may come from anywhere.
func server(t *testing.T) (address, password string) {
	t.Helper()
	const image = "envctl-backing/mysql"
	if exec.Command("docker", "image", "inspect", image).Run() != nil {
		t.Skipf("SKIPPED %s: there is no image %s; `make up` builds it", t.Name(), image)
	}
	container := docker(t, "run", "--detach", "--publish", "127.0.0.1::3306", image)
	t.Cleanup(func() { docker(t, "rm", "--force", "--volumes", container) })
	password = unique("secret")
	eventually(t, "MariaDB", func() bool {
		return exec.Command("docker", "exec", "--user", "root", container, "mariadb", "--user=root",
			"--execute=GRANT ALL ON *.* TO '"+admin+"'@'%' IDENTIFIED BY '"+password+"' WITH GRANT OPTION").Run() == nil
	})
	return strings.Fields(docker(t, "port", container, "3306/tcp"))[0], password
}

func docker(t *testing.T, words ...string) string {
	t.Helper()
	said, err := exec.Command("docker", words...).Output()
	if err != nil {
		t.Fatalf("docker %v: %v", words, err)
	}
	return strings.TrimSpace(string(said))
}

func open(t *testing.T, address, user, password string) *sql.DB {
	t.Helper()
	config := mysql.NewConfig()
	config.Net, config.Addr, config.User, config.Passwd, config.InterpolateParams = "tcp", address, user, password, true
	db, err := sql.Open("mysql", config.FormatDSN())
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestDatabaseUserAndGrant(t *testing.T) {
	t.Parallel()
	address, password := server(t)
	above := open(t, address, admin, password)
	name := "double_it's`me"

	r := rootOf(t, "database", "name="+name, "password=one", `privileges=["select", "INSERT"]`)
	r.set("MYSQL_ENDPOINT="+address, "MYSQL_USERNAME="+admin, "MYSQL_PASSWORD="+password)
	r.run("init")
	r.apply()
	r.settled()
	may := func(password, statement string) error {
		db := open(t, address, name, password)
		_, err := db.Exec(statement)
		return err
	}
	of := "`double_it's``me`.t"
	_, err := above.Exec("CREATE TABLE " + of + " (n INT)")
	must(t, err)
	must(t, may("one", "INSERT INTO "+of+" VALUES (1)"))
	if may("one", "DELETE FROM "+of) == nil {
		t.Fatal("the user may delete")
	}

	// Changes in place.
	r.variables = append(r.variables, "TF_VAR_password=two", `TF_VAR_privileges=["SELECT", "DELETE"]`)
	contains(t, r.apply(), "0 added, 2 changed, 0 destroyed")
	r.settled()
	must(t, may("two", "DELETE FROM "+of))
	if may("two", "INSERT INTO "+of+" VALUES (1)") == nil {
		t.Fatal("the user may still insert")
	}
	if may("one", "SELECT 1") == nil {
		t.Fatal("the old password is still good")
	}
	for _, privileges := range []string{`["ALL"]`, `["SELECT"]`} {
		r.variables = append(r.variables, "TF_VAR_privileges="+privileges)
		contains(t, r.apply(), "0 added, 1 changed, 0 destroyed")
		r.settled()
	}

	// What others remove is missed.
	_, err = above.Exec("DROP USER ?@'%'", name)
	must(t, err)
	contains(t, r.apply(), "2 added, 0 changed, 0 destroyed")
	r.settled()

	// What exists is not adopted.
	other := rootOf(t, "database", "name="+name, "password=one", `privileges=["SELECT"]`)
	other.set("MYSQL_ENDPOINT="+address, "MYSQL_USERNAME="+admin, "MYSQL_PASSWORD="+password)
	other.run("init")
	other.fails("Error 1007", "apply", "-auto-approve", "-target=mysql_database.app")
	other.fails("Error 1396", "apply", "-auto-approve", "-target=mysql_user.app")
	_, err = above.Exec("DROP DATABASE `double_it's``me`")
	must(t, err)
	_, err = above.Exec("DROP USER ?@'%'", name)
	must(t, err)
	other.apply("-target=mysql_user.app", "-target=mysql_database.app")
	_, err = above.Exec("GRANT INSERT ON `double_it's``me`.* TO ?@'%'", name)
	must(t, err)
	other.fails("there are grants already: INSERT", "apply", "-auto-approve")
	_, err = above.Exec("REVOKE INSERT ON `double_it's``me`.* FROM ?@'%'", name)
	must(t, err)
	other.apply()
	other.settled()
	contains(t, other.destroy(), "3 destroyed")
	var left int
	must(t, above.QueryRow("SELECT (SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = ?) + (SELECT COUNT(*) FROM mysql.user WHERE user = ?)", name, name).Scan(&left))
	equal(t, "what is left", left, 0)

	// Who is refused, or reaches nobody, is told so.
	other.set("MYSQL_PASSWORD=wrong")
	other.fails("Access denied", "apply", "-auto-approve")
	other.set("MYSQL_ENDPOINT=127.0.0.1:9")
	other.fails("connection refused", "apply", "-auto-approve")
}
