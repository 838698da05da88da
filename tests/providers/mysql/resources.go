package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"envctl.dev/tests/providers/crud"
)

type database struct {
	crud.Object
	Name      types.String `tfsdk:"name"`
	Charset   types.String `tfsdk:"default_character_set"`
	Collation types.String `tfsdk:"default_collation"`
}

var databases = crud.Kind[*session, database, *database]{
	Type: "mysql_database", Noun: "database",
	Schema: crud.Attributes(map[string]schema.Attribute{
		"name": crud.Fixed(), "default_character_set": crud.TextOr("utf8mb4"), "default_collation": crud.TextOr("utf8mb4_general_ci"),
	}),
	Name: func(d *database) string { return d.Name.ValueString() },
	Create: func(ctx context.Context, s *session, d *database) error {
		err := s.do(ctx, "CREATE DATABASE "+name(d.Name)+" CHARACTER SET ? COLLATE ?", d.Charset.ValueString(), d.Collation.ValueString())
		if err == nil {
			d.ID = d.Name
		}
		return err
	},
	Read: func(ctx context.Context, s *session, d *database) (bool, error) {
		var charset, collation string
		there, err := s.row(ctx, "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata WHERE schema_name = ?",
			[]any{d.ID.ValueString()}, &charset, &collation)
		d.Name, d.Charset, d.Collation = d.ID, types.StringValue(charset), types.StringValue(collation)
		return there, err
	},
	Update: func(ctx context.Context, s *session, _, wanted *database) error {
		return s.do(ctx, "ALTER DATABASE "+name(wanted.Name)+" CHARACTER SET ? COLLATE ?", wanted.Charset.ValueString(), wanted.Collation.ValueString())
	},
	Delete: func(ctx context.Context, s *session, d *database) error {
		err := s.do(ctx, "DROP DATABASE "+name(d.Name))
		if is(err, noDatabase) {
			return nil
		}
		return err
	},
}

type user struct {
	crud.Object
	User     types.String `tfsdk:"user"`
	Host     types.String `tfsdk:"host"`
	Password types.String `tfsdk:"plaintext_password"`
}

var users = crud.Kind[*session, user, *user]{
	Type: "mysql_user", Noun: "user",
	Schema: crud.Attributes(map[string]schema.Attribute{
		"user": crud.Fixed(), "host": crud.FixedOr("localhost"), "plaintext_password": schema.StringAttribute{Optional: true, Sensitive: true},
	}),
	Name: func(u *user) string { return u.User.ValueString() + "@" + u.Host.ValueString() },
	Create: func(ctx context.Context, s *session, u *user) error {
		err := s.do(ctx, "CREATE USER ?@? IDENTIFIED BY ?", u.User.ValueString(), u.Host.ValueString(), u.Password.ValueString())
		if err == nil {
			u.ID = types.StringValue(u.User.ValueString() + "@" + u.Host.ValueString())
		}
		return err
	},
	Read: func(ctx context.Context, s *session, u *user) (bool, error) {
		at := strings.LastIndex(u.ID.ValueString(), "@")
		if at < 0 {
			return false, fmt.Errorf("%q is not USER@HOST", u.ID.ValueString())
		}
		u.User, u.Host = types.StringValue(u.ID.ValueString()[:at]), types.StringValue(u.ID.ValueString()[at+1:])
		return s.row(ctx, "SELECT 1 FROM mysql.user WHERE user = ? AND host = ?", []any{u.User.ValueString(), u.Host.ValueString()}, new(int))
	},
	Update: func(ctx context.Context, s *session, _, wanted *user) error {
		return s.do(ctx, "ALTER USER ?@? IDENTIFIED BY ?", wanted.User.ValueString(), wanted.Host.ValueString(), wanted.Password.ValueString())
	},
	Delete: func(ctx context.Context, s *session, u *user) error {
		err := s.do(ctx, "DROP USER ?@?", u.User.ValueString(), u.Host.ValueString())
		if is(err, noUser) {
			return nil
		}
		return err
	},
}

type grant struct {
	crud.Object
	User       types.String `tfsdk:"user"`
	Host       types.String `tfsdk:"host"`
	Database   types.String `tfsdk:"database"`
	Privileges types.Set    `tfsdk:"privileges"`
}

var grants = crud.Kind[*session, grant, *grant]{
	Type: "mysql_grant", Noun: "grant",
	Schema: crud.Attributes(map[string]schema.Attribute{
		"user": crud.Fixed(), "host": crud.FixedOr("localhost"), "database": crud.Fixed(),
		"privileges": schema.SetAttribute{ElementType: types.StringType, Required: true},
	}),
	Name: func(g *grant) string {
		return g.User.ValueString() + "@" + g.Host.ValueString() + " on " + g.Database.ValueString()
	},
	Create: func(ctx context.Context, s *session, g *grant) error {
		there, err := held(ctx, s, g)
		if err != nil {
			return err
		}
		if len(there) > 0 {
			return fmt.Errorf("there are grants already: %s", strings.Join(there, ", "))
		}
		if err := give(ctx, s, g, privileges(g.Privileges)); err != nil {
			return err
		}
		g.ID = types.StringValue(fmt.Sprintf("%s@%s:%s", g.User.ValueString(), g.Host.ValueString(), name(g.Database)))
		return nil
	},
	Read: func(ctx context.Context, s *session, g *grant) (bool, error) {
		if g.User.IsNull() {
			return false, errors.New("the double cannot import grants")
		}
		there, err := held(ctx, s, g)
		if err != nil || len(there) == 0 {
			return false, err
		}
		if !slices.Equal(there, privileges(g.Privileges)) {
			all := []attr.Value{}
			for _, one := range there {
				all = append(all, types.StringValue(one))
			}
			g.Privileges = types.SetValueMust(types.StringType, all)
		}
		return true, nil
	},
	Update: func(ctx context.Context, s *session, old, wanted *grant) error {
		before, after := privileges(old.Privileges), privileges(wanted.Privileges)
		without := func(these, those []string) []string {
			return slices.DeleteFunc(slices.Clone(these), func(one string) bool { return slices.Contains(those, one) })
		}
		// What is new comes first: the user never has less than both sides agree on.
		if slices.Contains(before, everything) {
			if err := take(ctx, s, old, before); err != nil {
				return err
			}
			return give(ctx, s, wanted, after)
		}
		if more := without(after, before); len(more) > 0 {
			if err := give(ctx, s, wanted, more); err != nil {
				return err
			}
		}
		if less := without(before, after); len(less) > 0 && !slices.Contains(after, everything) {
			return take(ctx, s, wanted, less)
		}
		return nil
	},
	Delete: func(ctx context.Context, s *session, g *grant) error {
		there, err := held(ctx, s, g)
		if err != nil || len(there) == 0 {
			return err
		}
		return take(ctx, s, g, there)
	},
}

const everything = "ALL PRIVILEGES"

// privileges in the spelling of the server, sorted.
func privileges(set types.Set) []string {
	var list []string
	for _, one := range set.Elements() {
		list = append(list, spelled(one.(types.String).ValueString()))
	}
	slices.Sort(list)
	return list
}

func spelled(privilege string) string {
	privilege = strings.ToUpper(strings.Join(strings.Fields(privilege), " "))
	if privilege == "ALL" {
		return everything
	}
	return privilege
}

var privilege = regexp.MustCompile(`^[A-Z]+( [A-Z]+)*$`)

func give(ctx context.Context, s *session, g *grant, these []string) error {
	return change(ctx, s, g, "GRANT", "TO", these)
}

func take(ctx context.Context, s *session, g *grant, these []string) error {
	err := change(ctx, s, g, "REVOKE", "FROM", these)
	if is(err, noGrant) {
		return nil
	}
	return err
}

func change(ctx context.Context, s *session, g *grant, verb, preposition string, these []string) error {
	for _, one := range these {
		if !privilege.MatchString(one) {
			return fmt.Errorf("%q is no privilege", one)
		}
	}
	statement := fmt.Sprintf("%s %s ON %s.* %s ?@?", verb, strings.Join(these, ", "), name(g.Database), preposition)
	return s.do(ctx, statement, g.User.ValueString(), g.Host.ValueString())
}

var granted = regexp.MustCompile("^GRANT (.+) ON (`.*`)\\.\\* TO ")

// held are the privileges on this database that the server tells of.
func held(ctx context.Context, s *session, g *grant) ([]string, error) {
	db, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	found, err := privilegesOn(ctx, db, g)
	// A user without grants is not told apart from one who is not there.
	if is(err, noGrant, noSuchUser) {
		return nil, nil
	}
	slices.Sort(found)
	return found, err
}

func privilegesOn(ctx context.Context, db *sql.DB, g *grant) (found []string, err error) {
	rows, err := db.QueryContext(ctx, "SHOW GRANTS FOR ?@?", g.User.ValueString(), g.Host.ValueString())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return nil, err
		}
		if parts := granted.FindStringSubmatch(line); parts != nil && parts[2] == name(g.Database) {
			for _, one := range strings.Split(parts[1], ",") {
				found = append(found, spelled(one))
			}
		}
	}
	return found, rows.Err()
}
