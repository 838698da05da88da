// Package mysql is the double of petoju/mysql.
package mysql

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log"
	"os"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func New(version string) provider.Provider { return &mysql{version} }

type mysql struct{ version string }

type settings struct {
	Endpoint types.String `tfsdk:"endpoint"`
	Username types.String `tfsdk:"username"`
	Password types.String `tfsdk:"password"`
	Patience types.Int64  `tfsdk:"connect_retry_timeout_sec"`
}

func (m *mysql) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "mysql"
	resp.Version = m.version
}

func (m *mysql) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = schema.Schema{Attributes: map[string]schema.Attribute{
		"endpoint": schema.StringAttribute{Optional: true}, "username": schema.StringAttribute{Optional: true},
		"password":                  schema.StringAttribute{Optional: true, Sensitive: true},
		"connect_retry_timeout_sec": schema.Int64Attribute{Optional: true},
	}}
}

// Configure does not connect: the server may be one that the same apply makes.
func (m *mysql) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var from settings
	if resp.Diagnostics.Append(req.Config.Get(ctx, &from)...); resp.Diagnostics.HasError() {
		return
	}
	s := &session{endpoint: or(from.Endpoint, "MYSQL_ENDPOINT"), patience: time.Duration(from.Patience.ValueInt64()) * time.Second}
	config := driver.NewConfig()
	config.Net, config.Addr = "tcp", s.endpoint
	if strings.HasPrefix(s.endpoint, "/") {
		config.Net = "unix"
	}
	config.User, config.Passwd = or(from.Username, "MYSQL_USERNAME"), or(from.Password, "MYSQL_PASSWORD")
	// Statements about users cannot be prepared.
	config.InterpolateParams = true
	config.Timeout = 10 * time.Second
	config.Logger = log.New(io.Discard, "", 0)
	connector, err := driver.NewConnector(config)
	if err != nil {
		resp.Diagnostics.AddError("Invalid endpoint", err.Error())
		return
	}
	s.db = sql.OpenDB(connector)
	resp.ResourceData = s
	resp.DataSourceData = s
}

func or(value types.String, variable string) string {
	if text := value.ValueString(); text != "" {
		return text
	}
	return os.Getenv(variable)
}

func (m *mysql) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{databases.New, users.New, grants.New}
}

func (m *mysql) DataSources(context.Context) []func() datasource.DataSource { return nil }

type session struct {
	db       *sql.DB
	endpoint string
	patience time.Duration
}

// open waits for a server that does not answer yet, as long as it was told to.
// One that answers is not asked twice.
func (s *session) open(ctx context.Context) (*sql.DB, error) {
	if s.endpoint == "" {
		return nil, errors.New("the provider was given no endpoint")
	}
	until := time.Now().Add(s.patience)
	for {
		err := s.db.PingContext(ctx)
		var answer *driver.MySQLError
		if err == nil || errors.As(err, &answer) || ctx.Err() != nil || !time.Now().Before(until) {
			return s.db, err
		}
		time.Sleep(time.Second)
	}
}

func (s *session) do(ctx context.Context, statement string, values ...any) error {
	db, err := s.open(ctx)
	if err == nil {
		_, err = db.ExecContext(ctx, statement, values...)
	}
	return err
}

// row is the first that a query answers, if there is one.
func (s *session) row(ctx context.Context, query string, values []any, into ...any) (bool, error) {
	db, err := s.open(ctx)
	if err != nil {
		return false, err
	}
	err = db.QueryRowContext(ctx, query, values...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// is says whether the server answered with one of these numbers.
func is(err error, numbers ...uint16) bool {
	var answer *driver.MySQLError
	if !errors.As(err, &answer) {
		return false
	}
	for _, number := range numbers {
		if answer.Number == number {
			return true
		}
	}
	return false
}

const (
	noDatabase = 1008
	noGrant    = 1141
	noUser     = 1396
	noSuchUser = 1269
)

// name is an identifier in a statement.
func name(of types.String) string {
	return "`" + strings.ReplaceAll(of.ValueString(), "`", "``") + "`"
}
