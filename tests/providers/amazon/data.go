package amazon

import (
	"context"
	"strings"

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

func lastOf(text, separator string) string { return text[strings.LastIndex(text, separator)+1:] }
