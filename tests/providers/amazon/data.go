package amazon

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// reader is what data sources share.
type reader struct{ session *session }

func (r *reader) Configure(_ context.Context, req datasource.ConfigureRequest, _ *datasource.ConfigureResponse) {
	r.session, _ = req.ProviderData.(*session)
}

func computed(names ...string) schema.Schema {
	all := map[string]schema.Attribute{}
	for _, name := range names {
		all[name] = schema.StringAttribute{Computed: true}
	}
	return schema.Schema{Attributes: all}
}

type callerIdentity struct{ reader }

func (*callerIdentity) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = "aws_caller_identity"
}

func (*callerIdentity) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = computed("id", "account_id", "arn", "user_id")
}

func (d *callerIdentity) Read(ctx context.Context, _ datasource.ReadRequest, resp *datasource.ReadResponse) {
	who, err := d.session.sts.GetCallerIdentity(ctx, nil)
	if err != nil {
		resp.Diagnostics.AddError("reading STS Caller Identity: "+err.Error(), "")
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &struct {
		ID      types.String `tfsdk:"id"`
		Account types.String `tfsdk:"account_id"`
		ARN     types.String `tfsdk:"arn"`
		User    types.String `tfsdk:"user_id"`
	}{types.StringPointerValue(who.Account), types.StringPointerValue(who.Account), types.StringPointerValue(who.Arn), types.StringPointerValue(who.UserId)})...)
}

type currentRegion struct{ reader }

func (*currentRegion) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = "aws_region"
}

func (*currentRegion) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = computed("id", "name", "endpoint")
}

func (d *currentRegion) Read(ctx context.Context, _ datasource.ReadRequest, resp *datasource.ReadResponse) {
	region := types.StringValue(d.session.region)
	resp.Diagnostics.Append(resp.State.Set(ctx, &struct {
		ID       types.String `tfsdk:"id"`
		Name     types.String `tfsdk:"name"`
		Endpoint types.String `tfsdk:"endpoint"`
	}{region, region, types.StringValue("ec2." + d.session.region + ".amazonaws.com")})...)
}

// currentSecret is what a secret says now.
type currentSecret struct{ reader }

func (*currentSecret) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = "aws_secretsmanager_secret_version"
}

func (*currentSecret) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = computed("id", "arn", "version_id")
	resp.Schema.Attributes["secret_id"] = schema.StringAttribute{Required: true}
	resp.Schema.Attributes["secret_string"] = schema.StringAttribute{Computed: true, Sensitive: true}
}

type secretSays struct {
	ID      types.String `tfsdk:"id"`
	ARN     types.String `tfsdk:"arn"`
	Secret  types.String `tfsdk:"secret_id"`
	Version types.String `tfsdk:"version_id"`
	Text    types.String `tfsdk:"secret_string"`
}

func (d *currentSecret) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var wanted secretSays
	if resp.Diagnostics.Append(req.Config.Get(ctx, &wanted)...); resp.Diagnostics.HasError() {
		return
	}
	found, err := d.session.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: wanted.Secret.ValueStringPointer()})
	if err != nil {
		resp.Diagnostics.AddError("reading Secrets Manager Secret Version ("+wanted.Secret.ValueString()+"): "+err.Error(), "")
		return
	}
	wanted.ID = types.StringValue(wanted.Secret.ValueString() + "|AWSCURRENT")
	wanted.ARN, wanted.Version, wanted.Text = types.StringPointerValue(found.ARN), types.StringPointerValue(found.VersionId), types.StringPointerValue(found.SecretString)
	resp.Diagnostics.Append(resp.State.Set(ctx, &wanted)...)
}

func lastOf(text, separator string) string { return text[strings.LastIndex(text, separator)+1:] }
