package amazon

import (
	"context"
	"maps"
	"os"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"envctl.dev/tests/providers/crud"
)

// tagged is the state of whatever has tags. `tags` are those of its own,
// `tags_all` have the provider's as well.
type tagged struct {
	ARN     types.String `tfsdk:"arn"`
	Tags    types.Map    `tfsdk:"tags"`
	TagsAll types.Map    `tfsdk:"tags_all"`
}

func withTags(attributes map[string]schema.Attribute) schema.Schema {
	attributes["arn"] = crud.Given()
	attributes["tags"] = schema.MapAttribute{ElementType: types.StringType, Optional: true}
	attributes["tags_all"] = schema.MapAttribute{ElementType: types.StringType, Computed: true}
	return crud.Attributes(attributes)
}

const tagVariable = "TF_AWS_DEFAULT_TAGS_"

// defaults come from the environment and the provider's block, which wins.
func defaults(blocks []defaultTags) map[string]string {
	all := map[string]string{}
	for _, variable := range os.Environ() {
		if rest, found := strings.CutPrefix(variable, tagVariable); found {
			key, value, _ := strings.Cut(rest, "=")
			all[key] = value
		}
	}
	for _, block := range blocks {
		maps.Copy(all, texts(block.Tags))
	}
	return all
}

func texts(of types.Map) map[string]string {
	all := map[string]string{}
	for key, value := range of.Elements() {
		all[key] = value.(types.String).ValueString()
	}
	return all
}

func mapOf(of map[string]string) types.Map {
	all := map[string]attr.Value{}
	for key, value := range of {
		all[key] = types.StringValue(value)
	}
	return types.MapValueMust(types.StringType, all)
}

func (s *session) merge(own types.Map) map[string]string {
	all := maps.Clone(s.defaultTags)
	maps.Copy(all, texts(own))
	return all
}

// planTags makes what will be known of `tags_all` known.
func planTags(ctx context.Context, s *session, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	var own types.Map
	if resp.Diagnostics.Append(req.Plan.GetAttribute(ctx, path.Root("tags"), &own)...); resp.Diagnostics.HasError() {
		return
	}
	all := mapOf(s.merge(own))
	if unknown(own) {
		all = types.MapUnknown(types.StringType)
	}
	resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root("tags_all"), all)...)
}

func unknown(of types.Map) bool {
	if of.IsUnknown() {
		return true
	}
	for _, value := range of.Elements() {
		if value.IsUnknown() {
			return true
		}
	}
	return false
}

// settle says which tags it shall have, now that all are known.
func (t *tagged) settle(s *session) map[string]string {
	all := s.merge(t.Tags)
	t.TagsAll = mapOf(all)
	return all
}

// see takes over the tags that it was found with. Of the provider's defaults
// only those are its own that were written on it as well.
func (t *tagged) see(s *session, found map[string]string) {
	written := texts(t.Tags)
	own := map[string]string{}
	for key, value := range found {
		if strings.HasPrefix(key, "aws:") {
			delete(found, key)
			continue
		}
		_, isWritten := written[key]
		if common, isDefault := s.defaultTags[key]; isWritten || !isDefault || common != value {
			own[key] = value
		}
	}
	t.TagsAll = mapOf(found)
	if len(own) > 0 || !t.Tags.IsNull() {
		t.Tags = mapOf(own)
	}
}

// changed says how the tags of `old` become those of `wanted`.
func changed(s *session, old, wanted *tagged) (set map[string]string, gone []string) {
	before, after := texts(old.TagsAll), wanted.settle(s)
	set = map[string]string{}
	for key, value := range after {
		if had, there := before[key]; !there || had != value {
			set[key] = value
		}
	}
	for key := range before {
		if _, stays := after[key]; !stays {
			gone = append(gone, key)
		}
	}
	return set, gone
}
