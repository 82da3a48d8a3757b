export default ["packages/*", "examples", "scripts", "docs"]
